import { once } from "node:events";
import { Agent, get, type IncomingMessage } from "node:http";

import { expect } from "chai";

import type { RedisSse } from "../../lib/index.js";
import { sseStream } from "../../middleware/express.js";
import { eventually, settle } from "../support/eventually.js";
import { describeFaults, type FaultRig } from "../support/fault-rig.js";
import { getRequest, openWire } from "../support/wire-client.js";
import { startApp, type TestApp } from "../support/test-app.js";

const FLOOD_BYTES = 200_000;

/** Requests that a client sends after its request for a stream. Node.js answers the last two by itself. */
const PIPELINED: Readonly<Record<string, string>> = {
  "for another route": "GET /other HTTP/1.1\r\nHost: a\r\n\r\n",
  "for another stream": getRequest("/stream"),
  "with a body": "POST /other HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
  "without a Host": "GET /other HTTP/1.1\r\n\r\n",
  "with an unknown Expect": "GET /other HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n",
};

interface Pipelining {
  readonly app: TestApp;
  readonly service: RedisSse;
  /** The number of requests to `/other`. */
  readonly others: () => number;
}

/** `/stream`, `/waiting` after an asynchronous middleware, `/refused`, and `/other`, which answers at once. */
async function start(rig: FaultRig): Promise<Pipelining> {
  const service = rig.connect();
  let others = 0;
  const app = await startApp((router) => {
    const stream = sseStream(() => "a", { service });
    router.get("/stream", stream);
    router.get("/waiting", (_req, _res, next) => void setImmediate(next), stream);
    router.get(
      "/refused",
      sseStream(() => null, { service }),
    );
    router.use("/other", (_req, res) => {
      others++;
      res.end("other\n");
    });
  });
  rig.undo(() => app.close());
  return { app, service, others: () => others };
}

describeFaults("pipelined requests", (rig) => {
  for (const [what, request] of Object.entries(PIPELINED)) {
    const flood = request.repeat(Math.ceil(FLOOD_BYTES / request.length));

    it(`${what}, in the same packet as the stream request, end the connection and reach no handler`, async () => {
      const { app, service, others } = await start(rig);
      const client = await openWire(app.url, getRequest("/stream") + flood);
      await client.closed;
      expect(others()).to.equal(0);
      await eventually(async () => expect((await service.status()).sessions.open).to.equal(0));
    });

    it(`${what}, sent to an open stream, end the connection and reach no handler`, async () => {
      const { app, service, others } = await start(rig);
      const client = await openWire(app.url, getRequest("/stream"));
      await client.until("event: connected");
      client.socket.write(flood);
      await client.closed;
      expect(others()).to.equal(0);
      await eventually(async () => {
        expect((await service.status()).sessions).to.deep.include({ open: 0, closed: { "client-gone": 1 } });
      });
    });

    it(`${what}, sent while an earlier middleware waits, end the connection and open no stream`, async () => {
      const { app, service } = await start(rig);
      const client = await openWire(app.url, getRequest("/waiting") + flood);
      await client.closed;
      expect((await service.status()).sessions.opened).to.equal(0);
    });
  }

  it("for a stream are answered 503 NO_SOCKET and Connection: close if they follow an ordinary request", async () => {
    const { app, service } = await start(rig);
    const ordinary = "GET /other HTTP/1.1\r\nHost: a\r\n\r\n";
    const client = await openWire(app.url, ordinary + getRequest("/stream"));
    await client.closed;
    expect(client.statuses).to.deep.equal([200, 503]);
    expect(client.received).to.match(/^Connection: close\r$/m);
    expect(client.received).to.include('"code":"NO_SOCKET"');
    expect((await service.status()).sessions.opened).to.equal(0);
  });

  it("are all answered if each waits for the previous answer, even after a refused stream", async () => {
    const { app, others } = await start(rig);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    rig.undo(() => agent.destroy());
    const ports = new Set<number | undefined>();
    const ask = async (path: string): Promise<number | undefined> => {
      const request = get(`${app.url}${path}`, { agent });
      const [response] = (await once(request, "response")) as [IncomingMessage];
      ports.add(request.socket?.localPort);
      response.resume();
      await once(response, "end");
      await settle();
      return response.statusCode;
    };
    for (const path of ["/other", "/refused", "/other", "/refused", "/other"]) {
      expect(await ask(path), path).to.equal(path === "/other" ? 200 : 403);
    }
    expect(others()).to.equal(3);
    expect(ports.size).to.equal(1);
  });

  it("leave the listeners of the server unchanged", async () => {
    const { app, service } = await start(rig);
    const count = (): number[] =>
      app.server.eventNames().map((name) => app.server.listenerCount(name as string));
    const before = count();
    const client = await openWire(app.url, getRequest("/stream"));
    await client.until("event: connected");
    client.socket.destroy();
    await eventually(async () => expect((await service.status()).sessions.open).to.equal(0));
    expect(count()).to.deep.equal(before);
  });
});
