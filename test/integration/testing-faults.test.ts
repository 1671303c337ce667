import { expect } from "chai";

import { createRedisSse, type RedisSse, type RedisSseOptions } from "../../lib/index.js";
import { sseStream } from "../../middleware/express.js";
import { collect, createTestSse, type CollectedStream } from "../../testing/index.js";
import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { RedisServer } from "../support/redis-server.js";
import { faultOf } from "../support/service.js";
import { startApp, type TestApp } from "../support/test-app.js";

/** The faults that a test causes, in a real Redis or in the one of `redis-sse/testing`. */
interface FaultyRedis {
  create(options: Omit<RedisSseOptions, "redis">): RedisSse;
  stop(): unknown;
  start(): unknown;
  pause(): unknown;
  resume(): unknown;
  refuseChannel(channel: string): unknown;
  refuseCommand(command: string): unknown;
  fill(): unknown;
  makeReadOnly(): unknown;
  /** Ends all faults. */
  recover(): unknown;
}

interface Visit {
  readonly redis: FaultyRedis;
  readonly sse: RedisSse;
  readonly isShared: boolean;
  readonly open: (channel: string) => Promise<CollectedStream>;
  readonly openLive: (channel: string) => Promise<CollectedStream>;
}

const OPTIONS = { limits: { subscribeTimeoutMs: 300 }, pool: { acquireTimeoutMs: 300 } };
const WAIT = { timeoutMs: 10_000 };

/** The events of a stream, with the code or reason of each control event. */
const toldOf = ({ events, control }: CollectedStream): unknown => ({
  events: events.map(({ data }) => data),
  control: control.map(({ event, data }) => {
    const { code, reason } = data as { readonly code?: string; readonly reason?: string };
    return [event, code ?? reason].filter(Boolean).join(" ");
  }),
});

/** If an ACL rule denies a command of a script, Redis 7.0 says `ERR`. Later versions say `NOPERM`. */
const messageOf = async (work: Promise<unknown>): Promise<string> =>
  ((await faultOf(work)) as Error).message.replace(/: ERR$/, ": NOPERM");

/** Each check returns its observations. Both kinds of Redis must give the same result. */
const FAULTS: readonly (readonly [string, (visit: Visit) => Promise<unknown>, unknown])[] = [
  [
    "sends new events after Redis restarts, or has ended the stream",
    async ({ redis, sse, isShared, open, openLive }) => {
      const stream = await openLive("a");
      await sse.publish("a", { data: 1 });
      await stream.next();
      await redis.stop();
      await eventually(async () => expect((await sse.status()).hub.connected).to.equal(false));
      const refused = await open("b");
      await refused.ended(WAIT);
      const { fault } = (await sse.status()).redis;
      const publishing = await messageOf(sse.publish("a", { data: "lost" }));
      await redis.start();
      if (isShared) await eventually(async () => expect((await sse.status()).hub.connected).to.equal(true));
      await eventually(() => sse.publish("a", { data: 2 }));
      await (isShared ? stream.event("message", WAIT) : stream.ended());
      return [fault, publishing, toldOf(refused), toldOf(stream)];
    },
    ({ isShared }: Visit) => [
      "REDIS_UNAVAILABLE",
      "Redis cannot be reached",
      { events: [], control: ["error REDIS_UNAVAILABLE"] },
      isShared
        ? { events: [1, 2], control: ["connected"] }
        : { events: [1], control: ["connected", "error REDIS_UNAVAILABLE", "closing redis-lost"] },
    ],
  ],
  [
    "executes commands in order after Redis was frozen for a moment",
    async ({ redis, sse, openLive }) => {
      const stream = await openLive("frozen");
      await redis.pause();
      const published = [1, 2, 3].map((data) => sse.publish("frozen", { data }));
      await redis.resume();
      await Promise.all(published);
      for (let count = 0; count < 3; count++) await stream.next();
      return toldOf(stream);
    },
    { events: [1, 2, 3], control: ["connected"] },
  ],
  [
    "refuses streams and events of a denied channel, and serves another channel",
    async ({ redis, sse, open, openLive }) => {
      await redis.refuseChannel("secret");
      const refused = await open("secret");
      await refused.ended();
      const other = await openLive("public");
      const publishing = await messageOf(sse.publish("secret", { data: 1 }));
      const lastId = await sse.lastEventId("secret");
      await sse.publish("public", { data: 1 });
      await other.next();
      await redis.recover();
      const receipt = await sse.publish("secret", { data: 1 });
      return [toldOf(refused), publishing, lastId === null, receipt.receivers, toldOf(other)];
    },
    [
      { events: [], control: ["error SUBSCRIBE_REFUSED"] },
      "Redis refused the command: NOPERM",
      false,
      0,
      { events: [1], control: ["connected"] },
    ],
  ],
  [
    "ends an open stream if its channel is revoked",
    async ({ redis, openLive }) => {
      const stream = await openLive("granted");
      await redis.refuseChannel("granted");
      await stream.ended(WAIT);
      return toldOf(stream);
    },
    ({ isShared }: Visit) => ({
      events: [],
      control: isShared
        ? ["connected", "error SUBSCRIBE_REFUSED", "closing revoked"]
        : ["connected", "error REDIS_UNAVAILABLE", "closing redis-lost"],
    }),
  ],
  [
    "rejects a call if a command inside its script is denied",
    async ({ redis, sse }) => {
      await redis.refuseCommand("xadd");
      const publishing = await messageOf(sse.publish("commands", { data: 1 }));
      const { id } = await sse.publish("commands", { data: 1 }, { history: false });
      return [publishing, id];
    },
    ["Redis refused the command: NOPERM", null],
  ],
  ...(["fill", "makeReadOnly"] as const).map((fault): (typeof FAULTS)[number] => [
    `rejects calls that store data, and accepts others, after ${fault}()`,
    async ({ redis, sse, openLive }) => {
      const stream = await openLive(fault);
      const queue = sse.queue(fault);
      await redis[fault]();
      const codes = [
        await messageOf(sse.publish(fault, { data: 1 })),
        await messageOf(queue.enqueue("work", {})),
        await messageOf(sse.notifications.create({ userId: "ann", title: "hello" })),
      ];
      await sse.publish(fault, { data: 2 }, { history: false });
      await stream.next();
      await redis.recover();
      await sse.publish(fault, { data: 3 });
      await stream.next();
      return [codes, (await queue.counts()).queued, toldOf(stream)];
    },
    [
      Array.from({ length: 3 }, () => `Redis refused the command: ${fault === "fill" ? "OOM" : "READONLY"}`),
      0,
      { events: [2, 3], control: ["connected"] },
    ],
  ]),
];

describeRedis("a real Redis", async (context) => {
  const server = await RedisServer.start(await need("redis", context), ["--appendonly", "yes"]);
  const allow = (...rules: string[]): Promise<unknown> =>
    server.admin.acl("SETUSER", "app", "on", ">pw", "allkeys", "allcommands", "allchannels", ...rules);
  await allow();
  const redis: FaultyRedis = {
    create: (options) => createRedisSse({ ...options, redis: `redis://app:pw@127.0.0.1:${server.port}` }),
    stop: () => server.kill(),
    async start() {
      await server.boot();
      await allow();
    },
    pause: () => server.signal("SIGSTOP"),
    resume: () => server.signal("SIGCONT"),
    refuseChannel: (channel) =>
      allow("resetchannels", ...["public", "a"].filter((c) => c !== channel).map((c) => `&${c}`)),
    refuseCommand: (command) => allow(`-${command}`),
    fill: () => server.admin.config("SET", "maxmemory", "1"),
    makeReadOnly: () => server.admin.replicaof("127.0.0.1", 1),
    async recover() {
      await server.admin.replicaof("NO", "ONE");
      await server.admin.config("SET", "maxmemory", "0");
      await allow();
    },
  };
  return { redis, end: () => server.stop() };
});

describeRedis("the Redis of createTestSse()", async () => {
  let current: ReturnType<typeof createTestSse>;
  const redis: FaultyRedis = {
    create: (options) => (current = createTestSse(options)),
    stop: () => current.redis.stop(),
    start: () => current.redis.start(),
    pause: () => current.redis.pause(),
    resume: () => current.redis.resume(),
    refuseChannel: (channel) => current.redis.refuse("NOPERM", { channel }),
    refuseCommand: (command) => current.redis.refuse("NOPERM", { command }),
    fill: () => current.redis.refuse("OOM"),
    makeReadOnly: () => current.redis.refuse("READONLY"),
    recover: () => current.redis.recover(),
  };
  return { redis, end: async () => {} };
});

function describeRedis(
  name: string,
  make: (context: Mocha.Context) => Promise<{ redis: FaultyRedis; end(): Promise<void> }>,
): void {
  describe(`a service on ${name} with faults`, function () {
    this.timeout(30_000);
    let made: Awaited<ReturnType<typeof make>>;
    let app: TestApp;
    let sse: RedisSse;

    before(async function () {
      made = await make(this);
    });
    after(() => made?.end());
    afterEach(async () => {
      await made.redis.recover();
      await sse.close();
      await app.close();
    });

    for (const subscriptions of ["shared", "dedicated"] as const) {
      for (const [what, look, expected] of FAULTS) {
        it(`${subscriptions}: ${what}`, async () => {
          sse = made.redis.create({ ...OPTIONS, subscriptions });
          app = await startApp((router) => {
            router.get(
              "/:channel",
              sseStream((req) => req.params["channel"] as string, { service: sse }),
            );
          });
          const open = (channel: string): Promise<CollectedStream> => collect(`${app.url}/${channel}`, WAIT);
          const visit: Visit = {
            redis: made.redis,
            sse,
            isShared: subscriptions === "shared",
            open,
            async openLive(channel) {
              const stream = await open(channel);
              await stream.event("connected");
              return stream;
            },
          };
          const seen = await look(visit);
          expect(seen).to.deep.equal(typeof expected === "function" ? expected(visit) : expected);
        });
      }
    }
  });
}
