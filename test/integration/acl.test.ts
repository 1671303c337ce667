import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { expect } from "chai";
import { Cluster, type Redis } from "ioredis";

import {
  createRedisSse,
  progressChannel,
  TaskFailure,
  type PubSubSession,
  type RedisSse,
  type RedisSseOptions,
} from "../../lib/index.js";
import { deferred, eventually } from "../support/eventually.js";
import { FakeClock } from "../support/fake-clock.js";
import { FakeSink } from "../support/fake-sink.js";
import { need } from "../support/prerequisites.js";
import { RedisCluster } from "../support/redis-cluster.js";
import { RedisServer } from "../support/redis-server.js";
import { expectFault, faultOf } from "../support/service.js";

const PAGE = fileURLToPath(new URL("../../../docs/scaling.md", import.meta.url));

/** The services and keys that the operations of a role use. */
interface Stage {
  /** Makes a service whose Redis user has the rights of the role. */
  readonly service: (options?: RedisSseOptions) => RedisSse;
  /** A service with all rights. */
  readonly other: RedisSse;
  /** Like `other`, with a clock that stands still. */
  readonly frozen: RedisSse;
  /** Whether the user has the optional rights too. */
  readonly isWhole: boolean;
  /** Changes keys as another program would. */
  readonly redis: Pick<Redis, "hset" | "hget" | "hkeys" | "xadd" | "zadd" | "pexpire">;
}

type Operations = (stage: Stage) => Promise<void>;

const queueKey = (set: string): string => `sse:queue:{tasks}:default:${set}`;

async function open(sse: RedisSse, channel: string, lastEventId?: string): Promise<FakeSink> {
  const sink = new FakeSink();
  await sse.open({ lastEventId, from: "earliest" }, sink, channel);
  return sink;
}

async function received(sink: FakeSink, ...data: readonly string[]): Promise<void> {
  await eventually(() => {
    for (const part of data) expect(sink.text).to.include(part);
  });
}

const publisher: Operations = async ({ service, redis }) => {
  const sse = service();
  // A new history drops inactive producers.
  await redis.hset("sse:pos:{news}", "p:gone", "9 1");
  expect((await sse.publish("news", { data: "1" })).id).to.be.a("string");
  expect((await sse.publish("news", { data: "2" }, { history: false })).id).to.equal(null);
  // As if the reply to the next event was lost and the event was trimmed.
  const fields = await redis.hkeys("sse:pos:{news}");
  expect(fields).not.to.include("p:gone");
  const producer = fields.find((field) => field.startsWith("p:"))!;
  await redis.hset("sse:pos:{news}", producer, "1000 1");
  expectFault(await faultOf(sse.publish("news", { data: "3" })), "REDIS_UNAVAILABLE");
  await sse.publish("import", { data: "1" }, { finite: true });
  await sse.complete("import", { data: "2" });
  const writer = await sse.writer("answer", { leaseMs: 100 });
  const lease = (): Promise<string | null> => redis.hget("sse:pos:{answer}", "wt");
  const first = await lease();
  await writer.write("a");
  await eventually(async () => expect(Number(await lease())).to.be.greaterThan(Number(first) + 100));
  await writer.end();
  await (await sse.writer("broken")).abort();
};

const subscriber: Operations = async ({ service, other, redis, isWhole }) => {
  const { id } = await other.publish("news", { data: "first" });
  for (const subscriptions of ["shared", "dedicated"] as const) {
    const sse = service({ subscriptions });
    expect(await sse.lastEventId("news")).to.be.a("string");
    const whole = await open(sse, "news");
    await received(whole, "first");
    await other.publish("news", { data: `second ${subscriptions}` });
    await other.publish("news", { data: `not kept ${subscriptions}` }, { history: false });
    await received(whole, `second ${subscriptions}`, `not kept ${subscriptions}`);
    // Reading a quiet history extends its TTL.
    await redis.pexpire("sse:pos:{news}", 3_600_000);
    const resumed = await open(sse, "news", id!);
    await received(resumed, `second ${subscriptions}`);
    const { drift, nodes } = await sse.status();
    if (isWhole) expect(drift).to.include({ found: false });
    expect(nodes).to.have.length(1);
    // Waits for two heartbeats, so that PINGs are sent.
    await received(whole, "\n:\n", "\n:\n");
    const revoked = new FakeSink();
    await sse.open({ key: "ann" }, revoked, "news");
    const ended = await other.revoke({ key: "ann" });
    if (isWhole) expect(ended).to.equal(1);
    await received(revoked, '{"reason":"revoked"}');
    whole.leave();
    resumed.leave();
    await eventually(() => expect(sse.pool.statistics.leases).to.deep.equal([]));
    // The writer has crashed. A reader with the right marks its stream as broken.
    const channel = `lost ${subscriptions}`;
    await other.publish(channel, { data: "part" }, { finite: true });
    await redis.hset(`sse:pos:{${channel}}`, { "p:gone": "9 1", w: "gone", wt: "1", c: "" });
    await received(await open(sse, channel), "part");
    await sse.close();
  }
};

const revoker: Operations = async ({ service, other, redis }) => {
  // A revocation that is too old to be kept.
  await redis.xadd("sse:revocations", "1-0", "r", '1 0 call caller ["key","ann"]');
  const sink = new FakeSink();
  await other.open({ key: "ann" }, sink, "news");
  const sse = service();
  expect(await sse.revoke({ key: "ann" }, { forMs: 60_000 })).to.equal(1);
  await received(sink, '{"reason":"revoked"}');
  expect(await sse.revoke({ key: "bob" })).to.equal(0);
};

const ticketer: Operations = async ({ service, other }) => {
  const sse = service();
  const ticket = await sse.tickets.issue({ channels: "news" });
  // The client leaves while Redis takes the ticket. Then the ticket is unused again.
  const gone = new FakeSink();
  const opening = sse.open({}, gone, await sse.tickets.access(ticket));
  gone.leave();
  await opening;
  const { sink: first } = await eventually(() => openWith(sse, ticket));
  await other.publish("news", { data: "1" });
  // Waits for two heartbeats, so that PINGs are sent.
  await received(first, "data: 1", "\n:\n", "\n:\n");
  first.leave();
  const lastEventId = /id: (.*)/.exec(first.text)![1]!;
  const { sink: second, session } = await openWith(sse, ticket, lastEventId);
  await received(second, "data: 1");
  await session.close("revoked");
  await eventually(async () =>
    expectFault(await faultOf(openWith(sse, ticket, lastEventId)), "TICKET_INVALID"),
  );
};

async function openWith(
  sse: RedisSse,
  ticket: string,
  lastEventId?: string,
): Promise<{ readonly sink: FakeSink; readonly session: PubSubSession }> {
  const sink = new FakeSink();
  const access = await sse.tickets.access(ticket, { lastEventId });
  return { sink, session: await sse.open({ lastEventId }, sink, access) };
}

const watcher: Operations = async ({ service, other }) => {
  const sse = service();
  const queue = other.queue();
  const { id } = await queue.enqueue("kind", {}, { id: "task" });
  const sink = await open(sse, progressChannel(id));
  await received(sink, "queued");
  const over = await queue.enqueue("kind", {});
  await queue.cancel(over.id);
  const end = await open(sse, progressChannel(over.id));
  await received(end, "cancelled");
  await queue.cancel(id);
  await received(sink, "cancelled");
  await received(await open(sse, progressChannel(id)), "queued", "cancelled");
  expect((await sse.task(id))!.task.status).to.equal("cancelled");
};

const enqueuer: Operations = async ({ service, other, redis }) => {
  const queue = service().queue();
  const { id } = await queue.enqueue("kind", { a: 1 }, { id: "task", priority: 3 });
  const first = await queue.enqueue("kind", {}, { deduplicate: "key" });
  expect((await queue.enqueue("kind", {}, { deduplicate: "key" })).id).to.equal(first.id);
  await queue.enqueueMany([
    { kind: "kind", payload: 1, options: { deduplicate: { key: "b", windowMs: 60_000 } } },
    { kind: "kind", payload: 2, options: { delayMs: 60_000 } },
    { kind: "kind", payload: 3, options: { runAt: Date.now() + 60_000, attempts: 2 } },
  ]);
  await queue.schedule("nightly", "0 3 * * *", "kind", {});
  expect(await queue.schedules()).to.have.length(1);
  expect(await queue.unschedule("nightly")).to.equal(true);
  const page = await queue.list("queued", { limit: 1 });
  expect((await queue.list("queued", { limit: 10, cursor: page.next! })).tasks).to.have.length(2);
  expect((await queue.get(id))!.status).to.equal("queued");
  expect((await queue.counts()).delayed).to.equal(2);
  // A task with a history, and one with a deduplication key.
  const sink = await open(other, progressChannel(id));
  expect(await queue.publishProgress(id, { progress: 50 })).to.equal(true);
  expect(await queue.cancel(id)).to.equal(true);
  await received(sink, "cancelled");
  expect(await queue.cancel(first.id)).to.equal(true);
  // An entry that has outlived its task.
  await redis.zadd(queueKey("cancelled"), 1, "gone");
  const last = await queue.enqueue("kind", {}, { id: "task-2" });
  expect(await queue.cancel(last.id)).to.equal(true);
};

const operator: Operations = async ({ service, other }) => {
  const queue = service().queue();
  const worker = other.queue("default", { attempts: 1 }).worker(() => {
    throw new TaskFailure("failed");
  });
  for (const id of ["a", "b", "c"]) await other.queue().enqueue("kind", {}, { id, deduplicate: id });
  await eventually(async () => expect((await queue.counts()).failed).to.equal(3));
  await worker.stop();
  expect((await queue.deadLetters.list()).tasks).to.have.length(3);
  const sink = await open(other, progressChannel("a"));
  // Another task takes the deduplication key of the third one.
  await other.queue().enqueue("kind", {}, { deduplicate: "c" });
  expect(await queue.deadLetters.requeue("c")).to.equal(0);
  expect(await queue.deadLetters.requeue("a")).to.equal(1);
  expect(await queue.deadLetters.purge("b")).to.equal(1);
  expect(await queue.remove("a")).to.equal(true);
  expect(await queue.clean({ state: "failed" })).to.equal(1);
  sink.leave();
  await queue.pause();
  await queue.resume();
  await other.queue().enqueue("kind", {});
  expect((await queue.listUnreadable()).tasks).to.deep.equal([]);
  await queue.obliterate({ force: true });
};

const worker: Operations = async ({ service, other, frozen, redis, isWhole }) => {
  const sse = service();
  const queue = sse.queue("default", {
    backoff: 1,
    progressMs: 0,
    unknownKindMs: 1_500,
    rateLimit: { max: 50, intervalMs: 1_000 },
    results: { maxCount: 2 },
  });
  const source = other.queue();
  await source.enqueue("work", {}, { id: "lost", deduplicate: "lost" });
  // The clock of this worker stands still, so that it does not take the work of the tested worker.
  const end = deferred();
  const gone = frozen.queue();
  gone.worker(() => end.promise, { onFault: () => {} });
  await eventually(() => expect(gone.statistics.running).to.equal(1));
  // Leftovers of another program: ids without a task, an invalid schedule and an expired lease.
  await redis.zadd(
    queueKey("unreadable"),
    ...Array.from({ length: 1_001 }, (_, n) => [Date.now(), `x${n}`]).flat(),
  );
  await redis.zadd(queueKey("ready"), 1, "junk");
  await redis.hset(queueKey("schedules"), "broken", "no schedule");
  await redis.zadd(queueKey("due"), 1, "broken");
  await redis.zadd(queueKey("leases"), 1, "lost");
  await source.enqueue("work", {}, { id: "watched" });
  await source.enqueue("work", {}, { id: "later", delayMs: 50 });
  await source.enqueue("unknown", {}, { id: "unknown" });
  await source.enqueue("fail", {}, { id: "failing", attempts: 2 });
  await source.schedule("often", { everyMs: 100 }, "work", {});
  const sink = await open(other, progressChannel("watched"));
  const release = deferred();
  const seen = new Set<string>();
  const running = queue.worker(
    {
      async work({ task, attempt, progress, write, log }) {
        seen.add(task.id);
        if (task.id === "watched" && attempt === 1) throw new Error("once more");
        await progress(10, "begun");
        await write("output");
        await log("line");
        if (task.id === "watched") await release.promise;
        return { done: true };
      },
      fail() {
        throw new TaskFailure("for good", { retry: true });
      },
    },
    { concurrency: 5, leaseMs: 90, pollMs: 50, onError: () => {}, onFault: () => {} },
  );
  const attempt = async (): Promise<number> => (await source.get("watched"))!.attempt;
  await eventually(async () => expect(await attempt()).to.equal(2));
  await eventually(() => expect([...seen]).to.include.members(["lost", "later", "watched"]));
  // The task runs for longer than several leases.
  await eventually(() => expect(seen.size).to.be.greaterThan(7));
  expect(await attempt()).to.equal(2);
  release.resolve();
  await received(sink, "output", "line", "retry", "succeeded");
  await eventually(async () => expect((await source.get("failing"))!.status).to.equal("failed"));
  await eventually(async () => expect((await source.get("unknown"))!.status).to.equal("failed"));
  const { queues } = await sse.status({ drift: false });
  expect(queues[0]!.counts === null).to.equal(!isWhole);
  await running.stop();
  end.resolve();
};

const ROLES: Readonly<Record<string, Operations>> = {
  publisher,
  subscriber,
  revoker,
  ticketer,
  watcher,
  enqueuer,
  operator,
  worker,
};

/** An entry of `ACL LOG`. */
interface Refused {
  readonly reason: string;
  readonly object: string;
  readonly username: string;
}

async function refusedBy(redis: Redis): Promise<readonly Refused[]> {
  const entries = (await redis.call("ACL", "LOG", "128")) as readonly (readonly unknown[])[];
  return entries.map((flat) => {
    const of = (name: string): string => String(flat[flat.indexOf(name) + 1]);
    return { reason: of("reason"), object: of("object"), username: of("username") };
  });
}

/** Allows CLIENT SETINFO, which ioredis sends but does not need. An old server does not know this rule. */
async function allowLibraryInfo(redis: Redis, username: string): Promise<void> {
  await redis.call("ACL", "SETUSER", username, "+client|setinfo").catch(() => {});
}

describe("the minimal ACL rules in docs/scaling.md", function () {
  this.timeout(60_000);
  let program: string;
  let server: RedisServer;
  /** The required and the optional rules of each role, by user name. */
  const least = new Map<string, readonly string[]>();
  const optional = new Map<string, readonly string[]>();
  let ofCluster: readonly string[] = [];

  before(async function () {
    program = await need("redis", this);
    this.timeout(60_000);
    server = await RedisServer.start(program);
    const page = await readFile(PAGE, "utf8");
    const blocks = Array.from(page.matchAll(/```text\n([^`]*ACL SETUSER[^`]*)```/g), ([, text]) => text!);
    const linesOf = (text: string): readonly string[][] =>
      text
        .replaceAll(/\\\n\s*/g, "")
        .split("\n")
        .filter((line) => line.startsWith("ACL SETUSER "))
        .map((line) => line.split(/\s+/).slice(2));
    expect(blocks).to.have.length(3);
    for (const [name, ...rules] of linesOf(blocks[0]!)) least.set(name!, rules);
    for (const [name, ...rules] of linesOf(blocks[1]!)) optional.set(name!, rules);
    ofCluster = linesOf(blocks[2]!)[0]!.slice(1);
  });

  after(() => server?.stop());

  beforeEach(async () => {
    await server.admin.flushall();
    await server.admin.call("ACL", "LOG", "RESET");
  });

  async function run(name: string, rules: readonly string[], until: Promise<unknown>): Promise<void> {
    const isWhole = optional.get(name)!.every((rule) => rules.includes(rule));
    await server.admin.call("ACL", "DELUSER", name);
    await server.admin.call("ACL", "SETUSER", name, ...rules);
    await allowLibraryInfo(server.admin, name);
    const password = rules.find((rule) => rule.startsWith(">"))!.slice(1);
    const other = createRedisSse({ redis: server.url });
    const frozen = createRedisSse({ redis: server.url, clock: new FakeClock() });
    const services = [other];
    const service = (options: RedisSseOptions = {}): RedisSse => {
      const redis = { host: "127.0.0.1", port: server.port, username: name, password };
      const sse = createRedisSse({ heartbeatMs: 10, ...options, redis });
      services.push(sse);
      return sse;
    };
    try {
      const operations = ROLES[name]!({ service, other, frozen, redis: server.admin, isWhole });
      operations.catch(() => {});
      // PING is sent only after a while.
      await (rules.includes("+ping") ? Promise.race([operations, until]) : until);
    } finally {
      await Promise.all(services.map((sse) => sse.close()));
      // Its handlers never end, so its connections are closed at once.
      frozen.pool.commands.disconnect();
      frozen.pool.subscriber.disconnect();
    }
  }

  const never = new Promise<never>(() => {});
  const commandsOf = (rules: readonly string[]): readonly string[] =>
    rules.filter((rule) => rule.startsWith("+")).map((rule) => rule.slice(1));

  it("exist for each role", () => {
    expect([...least.keys()]).to.deep.equal(Object.keys(ROLES));
    expect([...optional.keys()]).to.deep.equal(Object.keys(ROLES));
  });

  for (const name of Object.keys(ROLES)) {
    describe(name, () => {
      it("can do all its work without the optional commands", async () => {
        await run(name, least.get(name)!, never);
        const refused = await refusedBy(server.admin);
        expect(refused.filter(({ reason }) => reason !== "command")).to.deep.equal([]);
        const commands = refused.map(({ object }) => object).toSorted();
        // XLEN replaces MEMORY USAGE.
        const allowed = [...commandsOf(optional.get(name)!), "xlen"];
        // Redis 6.2 logs the command without its subcommand.
        const whole = allowed.map((command) => command.split("|")[0]!);
        expect([...allowed, ...whole]).to.include.members(commands);
      });

      it("is denied nothing with the optional commands", async () => {
        await run(name, [...least.get(name)!, ...optional.get(name)!], never);
        expect(await refusedBy(server.admin)).to.deep.equal([]);
      });

      // Takes about a minute for all roles.
      if (process.env["ACL_EACH"] !== undefined) {
        it("needs each of its rights", async function () {
          this.timeout(300_000);
          const all = [...least.get(name)!, ...optional.get(name)!];
          const needless: string[] = [];
          for (const right of all.filter((rule) => /^[+~&]/.test(rule))) {
            await server.admin.flushall();
            await server.admin.call("ACL", "LOG", "RESET");
            const rules = all.filter((rule) => rule !== right);
            const refused = eventually(
              async () => expect(await refusedBy(server.admin)).not.to.deep.equal([]),
              20_000,
            );
            refused.catch(() => {});
            await run(name, rules, refused).catch(() => {});
            if ((await refusedBy(server.admin)).length === 0) needless.push(right);
          }
          expect(needless).to.deep.equal([]);
        });
      }
    });
  }

  it("leave no ticket that never expires, whichever command is denied", async () => {
    const rules = least.get("ticketer")!;
    for (const denied of commandsOf(rules)) {
      await server.admin.flushall();
      await server.admin.call("ACL", "LOG", "RESET");
      const refused = eventually(async () => expect(await refusedBy(server.admin)).not.to.deep.equal([]));
      await run(
        "ticketer",
        rules.filter((rule) => rule !== `+${denied}`),
        refused,
      ).catch(() => {});
      for (const key of await server.admin.keys("sse:ticket:*")) {
        expect(await server.admin.pttl(key), `without ${denied}`).to.be.above(0);
      }
    }
  });

  it("are enough on a cluster together with the commands of a Cluster client", async () => {
    const cluster = await RedisCluster.start(program, { masters: 3, replicas: 0 });
    const services: RedisSse[] = [];
    try {
      const connect = (redisOptions: object): RedisSse => {
        const sse = createRedisSse({
          redis: new Cluster(cluster.startup, { redisOptions, lazyConnect: true }),
        });
        services.push(sse);
        return sse;
      };
      for (const name of ["publisher", "subscriber", "enqueuer", "worker"]) {
        const rules = [...least.get(name)!, ...optional.get(name)!, ...ofCluster];
        for (const { admin } of cluster.nodes) {
          await admin.call("ACL", "SETUSER", name, ...rules);
          await allowLibraryInfo(admin, name);
        }
      }
      const as = (username: string): RedisSse => {
        const password = least
          .get(username)!
          .find((rule) => rule.startsWith(">"))!
          .slice(1);
        return connect({ username, password });
      };
      const publishing = as("publisher");
      const hearing = as("subscriber");
      const sink = await open(hearing, "news");
      await publishing.publish("news", { data: "kept" });
      await publishing.publish("news", { data: "not kept" }, { history: false });
      await received(sink, "kept", "not kept");
      expect((await hearing.status()).drift).not.to.equal(null);
      as("worker")
        .queue()
        .worker(() => "done");
      const queue = as("enqueuer").queue();
      const { id } = await queue.enqueue("kind", {});
      await eventually(async () => expect((await queue.get(id))!.status).to.equal("succeeded"));
      for (const { admin } of cluster.nodes) expect(await refusedBy(admin)).to.deep.equal([]);
    } finally {
      await Promise.all(services.map((sse) => sse.close()));
      await cluster.stop();
    }
  });
});
