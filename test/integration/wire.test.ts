import { once } from "node:events";
import { createServer, OutgoingMessage, Server } from "node:http";
import { Http2ServerResponse } from "node:http2";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { createGunzip, constants } from "node:zlib";

import { expect } from "chai";
import compression from "compression";
import express, { type Express, type Request, type RequestHandler } from "express";
import { restore, spy } from "sinon";

import { createRedisSse, type PubSubSession, type RedisSse, type RedisSseOptions } from "../../lib/index.js";
import { sseStream, type SseStreamOptions } from "../../middleware/express.js";
import { makeCertificate } from "../support/certificate.js";
import { eventually } from "../support/eventually.js";
import { openHttp2Stream, startHttp2App } from "../support/http2-app.js";
import { need } from "../support/prerequisites.js";
import { RedisServer } from "../support/redis-server.js";
import { parseEvents } from "../support/sse-client.js";
import { getRequest, openWire, type WireClient } from "../support/wire-client.js";

/** The data of the application's events, without control events. */
const messagesOf = ({ events }: Pick<WireClient, "events">): readonly string[] =>
  events.filter(({ event }) => event === "message").map(({ data }) => data);

describe("a stream on the wire", function () {
  this.timeout(30_000);

  let redis: RedisServer;
  const undo: (() => unknown)[] = [];

  before(async function () {
    redis = await RedisServer.start(await need("redis", this));
  });

  afterEach(async () => {
    restore();
    for (const step of undo.splice(0).toReversed()) await step();
  });

  after(() => redis?.stop());

  interface Given {
    readonly service?: RedisSseOptions;
    readonly stream?: SseStreamOptions;
    /** Middleware before the stream. */
    readonly before?: readonly RequestHandler[];
    /** Default: HTTP without TLS. */
    readonly makeServer?: (app: Express) => Server;
  }

  interface Wire {
    readonly url: string;
    readonly service: RedisSse;
    /** The server-side sockets, in the order of the connections. */
    readonly sockets: readonly Socket[];
    /** The number of `drain` listeners of each socket before its request. */
    readonly listeners: readonly number[];
    readonly sessions: readonly PubSubSession[];
    readonly requests: readonly Request[];
    readonly open: (request?: string) => Promise<WireClient>;
    /** Opens a stream and awaits `connected`. */
    readonly openLive: () => Promise<WireClient>;
    readonly expectAllGivenBack: (reason: string) => Promise<void>;
  }

  async function start({
    service: options,
    stream,
    before = [],
    makeServer = createServer,
  }: Given = {}): Promise<Wire> {
    const service = createRedisSse({ redis: redis.url, ...options });
    const app = express().set("env", "test");
    const sessions: PubSubSession[] = [];
    const requests: Request[] = [];
    const stage = sseStream((req) => req.query["channel"] as string, {
      service,
      ...stream,
      onOpen: (session, req) => {
        sessions.push(session);
        requests.push(req);
        return stream?.onOpen?.(session, req);
      },
    });
    app.get("/stream", ...before, stage);
    const server = makeServer(app);
    const sockets: Socket[] = [];
    const listeners: number[] = [];
    const isSecure = !(server instanceof Server);
    server.on(isSecure ? "secureConnection" : "connection", (socket: Socket) => {
      sockets.push(socket);
      listeners.push(socket.listenerCount("drain"));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const url = `${isSecure ? "https" : "http"}://127.0.0.1:${(server.address() as AddressInfo).port}`;
    undo.push(async () => {
      await service.close();
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    });
    const wire: Wire = {
      url,
      service,
      sockets,
      listeners,
      sessions,
      requests,
      async open(request = getRequest("/stream?channel=a")) {
        const client = await openWire(url, request);
        undo.push(() => client.socket.destroy());
        return client;
      },
      async openLive() {
        const client = await wire.open();
        await client.until("event: connected");
        await eventually(() => expect(sessions.length).to.equal(sockets.length));
        return client;
      },
      async expectAllGivenBack(reason) {
        await eventually(async () => {
          const { sessions: report, channels } = await service.status();
          expect(report).to.deep.include({ open: 0, closed: { [reason]: 1 } });
          expect(channels).to.deep.equal([]);
          expect(await redis.receiversOf("a")).to.equal(0);
        });
      },
    };
    return wire;
  }

  const publish = (...messages: readonly string[]): Promise<unknown> => {
    const pipeline = redis.admin.pipeline();
    for (const message of messages) pipeline.publish("a", message);
    return pipeline.exec();
  };

  /** Records the writes to a server-side socket from now on. */
  function recordWrites(socket: Socket): readonly string[] {
    const writes: string[] = [];
    const write = socket.write.bind(socket) as (chunk: Buffer | string, ...rest: unknown[]) => boolean;
    socket.write = (chunk: Buffer | string, ...rest: unknown[]) => {
      writes.push(chunk.toString());
      return write(chunk, ...rest);
    };
    return writes;
  }

  describe("over HTTP/1.1", () => {
    it("starts with its headers and its first frames in one packet", async () => {
      const corks: number[] = [];
      const { openLive } = await start({
        before: [
          (req, _res, next) => {
            const { socket } = req;
            const write = socket.write.bind(socket) as (...args: unknown[]) => boolean;
            socket.write = (...args: unknown[]) => corks.push(socket.writableCorked) > 0 && write(...args);
            next();
          },
        ],
      });
      const client = await openLive();
      expect(client.packets).to.have.length(1);
      // A client may read two packets as one, so the socket must have been corked for both parts.
      expect(corks).to.deep.equal([1, 1]);
      expect(client.head).to.match(/^HTTP\/1\.1 200 OK\r\n/);
      expect(client.body.chunks).to.have.length(1);
      expect(client.text).to.match(/^retry: 2000\nevent: connected\n/);
    });

    it("sends Connection: close, so that an agent does not reuse the connection", async () => {
      const { openLive, service } = await start();
      const client = await openLive();
      expect(client.head)
        .to.match(/^Connection: close\r?$/m)
        .and.to.match(/^Transfer-Encoding: chunked\r?$/m);
      expect(client.head).to.not.match(/^(Keep-Alive|Content-Length):/im);
      await service.drain({ spreadMs: 0 });
      await client.closed;
    });

    const TEXTS = [
      "plain",
      "é ✓ 😀",
      "\ud800 lone \udc00",
      "several\nlines\r\nof\rtext",
      "0\r\n\r\n",
      "x".repeat(70_000),
      "",
    ];

    it("consists of chunks of whole frames only, up to the last byte", async () => {
      const { openLive, service } = await start();
      const client = await openLive();
      for (const text of TEXTS) {
        await publish(text);
        await service.publish("a", { event: "typed", data: text });
      }
      await publish(...TEXTS, "last");
      await client.until("data: last");
      await service.drain({ spreadMs: 0 });
      await client.closed;
      const { chunks, isOver, rest } = client.body;
      expect(isOver, "the coding is ended").to.equal(true);
      expect(rest.length, "bytes behind the last chunk").to.equal(0);
      for (const chunk of chunks) expect(chunk.toString("latin1").endsWith("\n\n")).to.equal(true);
      // After UTF-8 encoding, and with the line ends that an SSE parser returns.
      const received = TEXTS.map((text) =>
        Buffer.from(text)
          .toString()
          .replace(/\r\n|\r/g, "\n"),
      );
      const own = client.events.filter(({ event }) => event === "message" || event === "typed");
      expect(own.map(({ data }) => data)).to.deep.equal([
        ...received.flatMap((text) => [text, text]),
        ...received,
        "last",
      ]);
      expect(client.events.at(-1)).to.deep.include({ event: "closing", data: '{"reason":"drain"}' });
    });

    it("bypasses response.write(), with one socket write for each chunk", async () => {
      const { openLive, sockets, sessions } = await start();
      const client = await openLive();
      const response = spy(OutgoingMessage.prototype, "write");
      const writes = recordWrites(sockets[0]!);
      await publish("1");
      await client.until("data: 1");
      expect(writes).to.deep.equal(["9\r\ndata: 1\n\n\r\n"]);
      for (const data of ["2", "3"]) sessions[0]!.send({ data });
      await client.until("data: 3");
      expect(writes.slice(1)).to.deep.equal(["9\r\ndata: 2\n\n\r\n", "9\r\ndata: 3\n\n\r\n"]);
      expect(response.called).to.equal(false);
    });

    it("sends an event of 5 MB completely, and the events after it", async () => {
      const { openLive } = await start({
        service: { limits: { maxEventBytes: 8_000_000, maxBufferedBytes: 16_000_000 }, history: false },
      });
      const client = await openLive();
      const large = "é".repeat(2_500_000);
      await publish("before", large, "after");
      await publish("last");
      await client.until("data: last");
      expect(messagesOf(client).map((data) => data.length)).to.deep.equal([6, 2_500_000, 5, 4]);
      expect(messagesOf(client)[1] === large).to.equal(true);
    });

    it("has no Content-Length, even if an earlier middleware has set one", async () => {
      const withLength: RequestHandler = (_req, res, next) => {
        res.set("Content-Length", "5");
        next();
      };
      const { openLive, open } = await start({ before: [withLength] });
      const client = await openLive();
      await publish("1");
      await client.until("data: 1");
      expect(client.head).to.not.match(/content-length/i);
      const refused = await open(getRequest("/stream").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
      await refused.closed;
      const length = Number(/content-length: (\d+)/i.exec(refused.head)?.[1]);
      expect(refused.head).to.match(/^HTTP\/1\.1 403/);
      expect(length).to.equal(refused.raw.length);
    });
  });

  const wrapped: RequestHandler = (_req, res, next) => {
    const write = res.write.bind(res) as (...args: unknown[]) => boolean;
    res.write = ((...args: unknown[]) => {
      res.locals["writes"] = ((res.locals["writes"] as number | undefined) ?? 0) + 1;
      return write(...args);
    }) as typeof res.write;
    next();
  };

  describe("that must use response.write()", () => {
    const MIDDLEWARE: Readonly<Record<string, readonly RequestHandler[]>> = {
      "compression() of everything": [compression({ filter: () => true, threshold: 0 })],
      "a middleware that wraps write()": [wrapped],
    };
    for (const [what, before] of Object.entries(MIDDLEWARE)) {
      it(`stays well-formed and without delay behind ${what}`, async () => {
        const { open, service, sockets, listeners, requests } = await start({ before });
        const response = spy(OutgoingMessage.prototype, "write");
        const client = await open(
          getRequest("/stream?channel=a").replace("\r\n\r\n", "\r\nAccept-Encoding: gzip\r\n\r\n"),
        );
        await client.until("event: connected");
        expect(sockets[0]!.listenerCount("drain")).to.equal(listeners[0]);
        const calls = response.callCount;
        await publish("1");
        await client.until("data: 1");
        await publish("é", "3");
        await client.until("data: 3");
        expect(calls).to.be.greaterThan(0);
        expect(response.callCount).to.be.greaterThan(calls);
        await service.drain({ spreadMs: 0 });
        await client.closed;
        expect(messagesOf(client)).to.deep.equal(["1", "é", "3"]);
        expect([client.body.isOver, client.body.rest.length]).to.deep.equal([true, 0]);
        if (before.includes(wrapped)) expect(requests[0]!.res!.locals["writes"]).to.be.at.least(4);
      });
    }

    it("is compressed event by event if the application forces it", async () => {
      const insist: RequestHandler = (_req, res, next) => {
        const writeHead = res.writeHead.bind(res) as (status: number, headers: object) => typeof res;
        res.writeHead = ((status: number, headers: object) =>
          writeHead(status, { ...headers, "Cache-Control": "no-cache" })) as typeof res.writeHead;
        next();
      };
      const { open } = await start({ before: [compression({ filter: () => true, threshold: 0 }), insist] });
      const client = await open(
        getRequest("/stream?channel=a").replace("\r\n\r\n", "\r\nAccept-Encoding: gzip\r\n\r\n"),
      );
      const unzipped = async (): Promise<string> => {
        const gunzip = createGunzip({ finishFlush: constants.Z_SYNC_FLUSH });
        gunzip.end(Buffer.concat(client.body.chunks));
        const parts: Buffer[] = [];
        for await (const part of gunzip) parts.push(part as Buffer);
        return Buffer.concat(parts).toString();
      };
      await eventually(async () => expect(await unzipped()).to.include("event: connected"));
      expect(client.head).to.match(/^Content-Encoding: gzip\r?$/m);
      for (const text of ["1", "é"]) {
        await publish(text);
        await eventually(async () => expect(await unzipped()).to.include(`data: ${text}\n\n`));
      }
      expect(parseEvents(await unzipped()).map(({ event }) => event)).to.deep.equal([
        "connected",
        "message",
        "message",
      ]);
    });

    it("has no chunks for a client of HTTP/1.0, and ends with its connection", async () => {
      const { open, service } = await start();
      const client = await open(getRequest("/stream?channel=a").replace("HTTP/1.1", "HTTP/1.0"));
      const has = (part: string): Promise<unknown> =>
        eventually(() => expect(client.raw.toString()).to.include(part));
      await has("event: connected");
      expect(client.packets).to.have.length(1);
      expect(client.head).to.not.match(/^Transfer-Encoding:/im);
      await publish("1", "é");
      await has("data: é");
      await service.drain({ spreadMs: 0 });
      await client.closed;
      expect(client.raw.toString()).to.match(
        /^retry: 2000\nevent: connected\n[^]*\n\ndata: 1\n\ndata: é\n\nretry: \d+\nevent: closing\n[^]*\n\n$/,
      );
    });

    it("uses response.write() over HTTP/2", async () => {
      const service = createRedisSse({ redis: redis.url });
      const app = await startHttp2App((router) => {
        router.get(
          "/stream",
          sseStream(() => "a", { service }),
        );
      });
      undo.push(() => app.close());
      undo.push(() => service.close());
      const response = spy(Http2ServerResponse.prototype, "write");
      const stream = openHttp2Stream(app.connect(), "/stream");
      await eventually(() => expect(stream.events).to.have.length(1));
      await publish("1", "é");
      await eventually(() =>
        expect(stream.events.map(({ data }) => data).slice(1)).to.deep.equal(["1", "é"]),
      );
      expect(response.callCount).to.be.greaterThan(1);
    });
  });

  it("sends chunks over TLS too, and bypasses response.write()", async function () {
    const identity = await makeCertificate(this);
    const { openLive, service, sockets } = await start({
      makeServer: (app) => createTlsServer(identity, app),
    });
    const client = await openLive();
    const response = spy(OutgoingMessage.prototype, "write");
    const writes = recordWrites(sockets[0]!);
    await publish("1");
    await client.until("data: 1");
    expect(writes).to.deep.equal(["9\r\ndata: 1\n\n\r\n"]);
    const large = "é".repeat(100_000);
    await publish(large, "last");
    await client.until("data: last");
    expect(messagesOf(client)).to.deep.equal(["1", large, "last"]);
    expect(response.called).to.equal(false);
    await service.drain({ spreadMs: 0 });
    await client.closed;
    expect([client.body.isOver, client.body.rest.length]).to.deep.equal([true, 0]);
  });

  describe("to which the application writes too", () => {
    it("keeps its order and its format", async () => {
      const { openLive, service } = await start({
        stream: {
          onOpen: (session, req) => {
            session.send({ data: "1" });
            req.res!.write(": é, from the app\n\n");
            session.send({ data: "2" });
            req.res!.write(`: ${"x".repeat(100_000)}\n\n`);
            session.send({ data: "3" });
          },
        },
      });
      const client = await openLive();
      await client.until("data: 3");
      await publish("4");
      await client.until("data: 4");
      await service.drain({ spreadMs: 0 });
      await client.closed;
      expect(client.text).to.match(
        /data: 1\n\n: é, from the app\n\ndata: 2\n\n: x{100000}\n\ndata: 3\n\ndata: 4\n\n/,
      );
      expect([client.body.isOver, client.body.rest.length]).to.deep.equal([true, 0]);
    });

    it("ends if the application ends the response, writes nothing after the last chunk, and releases everything", async () => {
      const { openLive, requests, sessions, sockets, expectAllGivenBack } = await start();
      const client = await openLive();
      const writes = recordWrites(sockets[0]!);
      await publish("1");
      await client.until("data: 1");
      requests[0]!.res!.end();
      sessions[0]!.send({ data: "too late" });
      void publish("too late as well");
      await client.closed;
      expect([client.body.isOver, client.body.rest.length]).to.deep.equal([true, 0]);
      expect(messagesOf(client)).to.deep.equal(["1"]);
      expect(writes.join("")).to.not.include("too late");
      await expectAllGivenBack(sessions[0]!.closeReason!);
      expect(sessions[0]!.closeReason).to.be.oneOf(["client-gone", "write-error"]);
    });
  });

  describe("with a slow client", () => {
    for (const [says, before] of [
      ["", []],
      [" (behind a middleware that wraps write())", [wrapped]],
    ] as const) {
      it(`sends everything in order when the client reads again, and removes its listener${says}`, async () => {
        const { openLive, sockets, listeners, requests, sessions, service } = await start({
          service: { limits: { maxBufferedBytes: 64_000_000 } },
          before,
        });
        const client = await openLive();
        const socket = sockets[0]!;
        const [target, ofNode] = before.length > 0 ? [requests[0]!.res!, 0] : [socket, listeners[0]!];
        expect(target.listenerCount("drain"), "no client was slow").to.equal(ofNode);
        client.socket.pause();
        let count = 0;
        await eventually(async () => {
          await publish(...Array.from({ length: 1_000 }, () => `${count++} ${"x".repeat(1_000)}`));
          expect(sessions[0]!.statistics.bufferedBytes).to.be.greaterThan(1_000_000);
        }, 20_000);
        expect(socket.writableLength).to.be.greaterThan(0);
        expect(target.listenerCount("drain")).to.equal(ofNode + 1);
        client.socket.resume();
        await client.until(`data: ${count - 1} `);
        expect(messagesOf(client).map((data) => parseInt(data, 10))).to.deep.equal(
          Array.from({ length: count }, (_, index) => index),
        );
        expect(sessions[0]!.statistics).to.include({
          messagesSent: count,
          messagesDropped: 0,
          bufferedBytes: 0,
        });
        await service.drain({ spreadMs: 0 });
        await sessions[0]!.closed;
        expect(target.listenerCount("drain")).to.be.at.most(ofNode);
        await client.closed;
        expect([client.body.isOver, client.body.rest.length]).to.deep.equal([true, 0]);
      });
    }

    it("sends no heartbeat while the client has unread data, and one after it has read the data", async () => {
      const { openLive, sockets, sessions } = await start({ service: { heartbeatMs: 20 } });
      const client = await openLive();
      const other = await openLive();
      client.socket.pause();
      // Each event is below the high-water mark of the socket, so the socket accepts it while the kernel does not.
      while (sockets[0]!.writableLength === 0) sessions[0]!.send({ data: "x".repeat(4_000) });
      sessions[0]!.send({ data: "last" });
      expect(sessions[0]!.statistics.bufferedBytes, "nothing waits in the session").to.equal(0);
      const writes = recordWrites(sockets[0]!);
      const beats = (): number => other.text.split(/^:$/m).length;
      const before = beats();
      await eventually(() => expect(beats()).to.be.greaterThan(before + 8));
      expect(sockets[0]!.writableLength).to.be.greaterThan(0);
      expect(writes).to.deep.equal([]);
      client.socket.resume();
      await client.until("data: last\n\n:\n");
      expect(sessions[0]!.state).to.equal("subscribed");
    });
  });
});
