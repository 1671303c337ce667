import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, get, type RequestListener, type Server, type ServerResponse } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";

import { expect } from "chai";
import RedisMock from "ioredis-mock";
import { restore, stub } from "sinon";

import { createRedisSse, type ChannelSelection, type RedisSse } from "../../lib/index.js";
import { eventually } from "../support/eventually.js";
import { openStream, type OpenOptions, type ReceivedEvent, type SseClient } from "../support/sse-client.js";

const run = promisify(execFile);

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
/** Inside the package, so that imports of `redis-sse` resolve as if it was installed. */
const FOLDER = join(ROOT, "dist/adapter-docs");
const OPTIONS =
  "--strict --exactOptionalPropertyTypes --noImplicitReturns --module nodenext --target es2023 --types node --ignoreConfig";

type Resolver = (req: { readonly url?: string }) => Promise<ChannelSelection>;

/** The exports of the code block on the page. */
interface Adapter {
  sseHandler(sse: RedisSse, resolver: Resolver): RequestListener;
}

const isData =
  (data: unknown) =>
  (event: ReceivedEvent): boolean =>
    event.data === JSON.stringify(data);

const connectionsOf = (server: Server): Promise<number> =>
  new Promise((resolve, reject) =>
    server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
  );

describe("the adapter in docs/adapters.md", () => {
  let adapter: Adapter;
  let sse: RedisSse;
  let server: Server;
  let url: string;
  let resolverCalls: number;
  let hosts = 0;
  let requests: ServerResponse[];
  const clients: SseClient[] = [];

  before(async function () {
    this.timeout(60_000);
    const page = await readFile(join(ROOT, "docs/adapters.md"), "utf8");
    const blocks = Array.from(page.matchAll(/```ts(?: no-check)?\n([\s\S]*?)```/g), ([, code]) => code!);
    expect(blocks, "the adapter and its use").to.have.lengthOf(2);
    await mkdir(FOLDER, { recursive: true });
    const files = ["sse-handler.ts", "server.ts"].map((name) => join(FOLDER, name));
    for (const [index, file] of files.entries()) await writeFile(file, blocks[index]!);
    const tsc = join(ROOT, "node_modules/.bin/tsc");
    await run(tsc, [...OPTIONS.split(" "), ...files], { cwd: ROOT }).catch((error: { stdout: string }) => {
      throw new Error(error.stdout);
    });
    adapter = (await import(pathToFileURL(join(FOLDER, "sse-handler.js")).href)) as Adapter;
  });

  after(() => rm(FOLDER, { recursive: true, force: true }));

  beforeEach(async () => {
    resolverCalls = 0;
    sse = createRedisSse({
      redis: new RedisMock({ host: `adapter-docs-${hosts++}` }),
      heartbeatMs: 50,
      limits: { resolverTimeoutMs: 200, maxBufferedBytes: 2 ** 26 },
    });
    requests = [];
    const handler = adapter.sseHandler(sse, async ({ url = "" }) => {
      resolverCalls++;
      const path = url.slice(1);
      if (path === "nobody") return null;
      if (path === "denied") throw Object.assign(new Error("denied"), { status: 401 });
      if (path === "broken") throw new Error("broken");
      if (path === "null") throw null;
      if (path === "odd") throw Object.assign(new Error("odd"), { status: 700 });
      return path === "slow" ? new Promise(() => {}) : path;
    });
    server = createServer((req, res) => {
      requests.push(res);
      return handler(req, res);
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });

  afterEach(async () => {
    restore();
    for (const client of clients.splice(0)) client.destroy();
    await sse.close();
    server.close();
    server.closeAllConnections();
  });

  async function open(path: string, options?: OpenOptions): Promise<SseClient> {
    const client = await openStream(`${url}/${path}`, options);
    clients.push(client);
    return client;
  }

  /** A client that is subscribed. */
  async function openLive(path: string, lastEventId?: string): Promise<SseClient> {
    const headers = lastEventId === undefined ? {} : { "Last-Event-ID": lastEventId };
    const client = await open(path, { headers });
    await client.next(({ event }) => event === "connected");
    return client;
  }

  it("streams events and heartbeats", async () => {
    const client = await openLive("events");
    expect(client.status).to.equal(200);
    expect(client.headers["content-type"]).to.equal("text/event-stream; charset=utf-8");
    await sse.publish("events", { event: "greeting", data: { hello: "ann" } });
    const greeting = await client.next(({ event }) => event === "greeting");
    expect(greeting.data).to.equal('{"hello":"ann"}');
    await eventually(() => expect(client.comments).to.not.be.empty);
  });

  it("resumes after the Last-Event-ID of the client", async () => {
    const first = await openLive("resumed");
    await sse.publish("resumed", { data: 1 });
    const { id } = await first.next(isData(1));
    first.destroy();
    await sse.publish("resumed", { data: 2 });
    const second = await openLive("resumed", id);
    await second.next(isData(2));
    expect(second.events.filter(({ event }) => event !== "connected")).to.have.lengthOf(1);
  });

  it("answers refused requests with their status", async () => {
    const errors = stub(console, "error");
    const statuses: [path: string, status: number][] = [
      ["nobody", 403],
      ["denied", 401],
      ["broken", 500],
      ["null", 500],
      ["odd", 500],
      ["a%0Ab", 200],
      ["", 400],
    ];
    for (const [path, status] of statuses) expect((await open(path)).status, path).to.equal(status);
    expect((await open("x".repeat(600))).status).to.equal(400);
    expect((await open("a", { headers: { "Last-Event-ID": "completed" } })).status).to.equal(204);
    expect((await sse.status()).sessions.refused).to.include({
      FORBIDDEN: 1,
      INVALID_CHANNEL: 2,
      COMPLETED: 1,
    });
    expect(errors.args.map(([error]) => String(error))).to.deep.equal(["Error: broken", "null"]);
  });

  it("answers HEAD without a stream, and other methods with 405 without calling the resolver", async () => {
    const head = await open("a", { method: "HEAD" });
    expect([head.status, head.headers["content-type"]]).to.deep.equal([
      200,
      "text/event-stream; charset=utf-8",
    ]);
    expect((await open("nobody", { method: "HEAD" })).status).to.equal(403);
    expect(resolverCalls).to.equal(2);
    const post = await open("a", { method: "POST", body: "x" });
    expect([post.status, post.headers.allow]).to.deep.equal([405, "GET, HEAD"]);
    expect(resolverCalls).to.equal(2);
    expect((await sse.status()).sessions.opened).to.equal(0);
  });

  it("buffers events for a client that does not read, and sends them when it reads again", async () => {
    const client = await openLive("slow-reader");
    client.pause();
    const data = "x".repeat(100_000);
    const count = 100;
    for (let sent = 0; sent < count; sent++)
      await sse.publish("slow-reader", { event: "part", data }, { history: false });
    await eventually(async () => expect((await sse.status()).buffers.bytes).to.be.greaterThan(0));
    client.resume();
    await eventually(() =>
      expect(client.events.filter(({ event }) => event === "part")).to.have.lengthOf(count),
    );
    expect((await sse.status()).buffers.bytes).to.equal(0);
  });

  it("closes the session when the client leaves, also while the resolver runs", async () => {
    const client = await openLive("left");
    expect((await sse.status()).sessions.open).to.equal(1);
    client.destroy();
    await eventually(async () => {
      const { open, closed } = (await sse.status()).sessions;
      expect({ open, closed }).to.deep.equal({ open: 0, closed: { "client-gone": 1 } });
    });
    const asking = get(`${url}/slow`, { agent: false }).on("error", () => {});
    await eventually(() => expect(resolverCalls).to.equal(2));
    asking.destroy();
    await eventually(async () => expect(await connectionsOf(server)).to.equal(0));
    // If the service were still waiting for the resolver, this would refuse the request.
    await sse.drain({ timeoutMs: 100 });
    expect((await sse.status()).sessions.refused).to.deep.equal({});
  });

  it("closes the connection if the client pipelines a request after its stream", async () => {
    const { port } = server.address() as AddressInfo;
    const socket = connect(port, "127.0.0.1");
    const request = "GET /pipelined HTTP/1.1\r\nHost: a\r\n\r\n";
    socket.resume().write(request + request);
    await once(socket, "close");
    await eventually(async () => expect((await sse.status()).sessions.open).to.equal(0));
  });

  it("ends its streams and their connections when the service drains", async () => {
    const client = await openLive("drained");
    const other = await fetch(`${url}/drained`);
    expect(other.headers.get("connection")).to.equal("close");
    await sse.drain({ timeoutMs: 1_000, spreadMs: 0 });
    await client.ended;
    expect(client.events.at(-1)).to.include({ event: "closing", data: '{"reason":"drain"}' });
    expect(await other.text()).to.include("event: closing");
  });
});
