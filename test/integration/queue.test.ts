import { once } from "node:events";

import { expect } from "chai";

import {
  createRedisSse,
  type QueueService,
  type RedisSse,
  type RedisSseOptions,
  type Task,
  type TaskProgress,
} from "../../lib/index.js";
import { describeNotifications } from "../conformance/notifications-suite.js";
import { describeQueue } from "../conformance/queue-suite.js";
import { expectFault, faultOf, listen, untilIdle } from "../support/service.js";
import { deferred, eventually, settle } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { QueueWorkerProcess } from "../support/queue-processes.js";
import { RedisServer } from "../support/redis-server.js";
import { TcpProxy } from "../support/tcp-proxy.js";

describe("tasks and notifications over a real server", () => {
  let program: string;
  let server: RedisServer;

  before(async function () {
    program = await need("redis", this);
    server = await RedisServer.start(program);
  });

  after(async () => {
    await server?.stop();
  });

  const make = async (options?: RedisSseOptions): Promise<{ sse: RedisSse; stop: () => Promise<void> }> => {
    const sse = createRedisSse({ redis: server.url, ...options });
    return { sse, stop: () => sse.close() };
  };

  describeQueue("a real server", make);
  describeNotifications("a real server", make);

  describe("when something fails", () => {
    let services: RedisSse[];
    let ends: (() => unknown)[];

    const service = (options?: RedisSseOptions): RedisSse => {
      const sse = createRedisSse({ redis: server.url, ...options });
      services.push(sse);
      return sse;
    };

    beforeEach(async () => {
      services = [];
      ends = [];
      await server.admin.flushall();
    });

    afterEach(async () => {
      for (const end of ends) await end();
      await Promise.all(services.map((sse) => sse.close()));
    });

    it("a task of a worker that is killed is done once by another, after its lease", async () => {
      const sse = service();
      const queue = sse.queue("killed");
      const heard = await listen(sse, "task_progress:killed");
      ends.push(() => heard.stop());
      await queue.enqueue("kind", { pages: 3 }, { id: "killed" });
      const options = { url: server.url, queue: "killed", leaseMs: 400, concurrency: 1, workMs: 600_000 };
      const child = await QueueWorkerProcess.start(options);
      ends.push(() => child.kill());
      await child.kill();
      const done: Task[] = [];
      queue.worker(
        ({ task }) => {
          done.push(task);
          return "done";
        },
        { pollMs: 20 },
      );
      await eventually(async () => expect((await queue.get("killed"))!.status).to.equal("succeeded"));
      await untilIdle(sse);
      expect(done).to.have.length(1);
      expect(done[0]).to.deep.include({ attempt: 2, payload: { pages: 3 } });
      await heard.sync();
      const told = heard.messages.map((message) => JSON.parse(message) as TaskProgress);
      expect(told.map(({ type, attempt }) => [type, attempt])).to.deep.equal([
        ["queued", 0],
        ["started", 1],
        ["retry", 1],
        ["started", 2],
        ["succeeded", 2],
      ]);
    });

    it("a server that has forgotten its scripts is told them again", async () => {
      const sse = service();
      const queue = sse.queue("flushed");
      const forget = (): Promise<unknown> => server.admin.script("FLUSH");
      // Twice: the first round makes ioredis believe that the server knows them.
      for (const id of ["one", "two"]) {
        await forget();
        await queue.enqueue("kind", 1, { id });
        await forget();
        expect(await queue.get(id)).to.include({ status: "queued" });
        await forget();
        expect(await queue.publishProgress(id, { progress: 1 })).to.equal(true);
        await forget();
        const worker = queue.worker(
          async ({ progress, signal }) => {
            await forget();
            await progress(10, "told");
            const renewed = (await server.admin.zscore("sse:queue:{tasks}:flushed:leases", id))!;
            await forget();
            await eventually(async () =>
              expect(await server.admin.zscore("sse:queue:{tasks}:flushed:leases", id)).to.not.equal(renewed),
            );
            await forget();
            return signal.aborted;
          },
          { leaseMs: 300 },
        );
        await eventually(async () => expect((await queue.get(id))!.status).to.equal("succeeded"));
        expect(await queue.get(id)).to.include({ attempt: 1, result: false });
        await worker.stop();
        await forget();
      }
      await queue.enqueue("kind", 1, { id: "three" });
      const stopping = queue.worker(({ signal }) => once(signal, "abort"));
      await eventually(() => expect(stopping.running).to.equal(1));
      await forget();
      await stopping.stop({ graceMs: 0 });
      expect(await queue.get("three")).to.include({ status: "queued", attempt: 0 });
    });

    it("two services share 200 tasks, and each task is done exactly once", async () => {
      const begun = new Map<string, number>();
      const shares = [0, 0];
      const both = deferred();
      const producer = service().queue("shared");
      for (const share of [0, 1]) {
        service()
          .queue("shared")
          .worker(
            async ({ task }) => {
              begun.set(task.id, (begun.get(task.id) ?? 0) + 1);
              shares[share]!++;
              if (shares.every((count) => count > 0)) both.resolve();
              await both.promise;
            },
            { concurrency: 8 },
          );
      }
      const ids = Array.from({ length: 200 }, (_, index) => `shared-${index}`);
      await Promise.all(ids.map((id) => producer.enqueue("kind", null, { id })));
      await eventually(async () => {
        const tasks = await Promise.all(ids.map((id) => producer.get(id)));
        expect(tasks.filter((task) => task?.status === "succeeded")).to.have.length(200);
      });
      expect([...begun.keys()].toSorted()).to.deep.equal(ids.toSorted());
      expect(
        [...begun.values()].every((times) => times === 1),
        "once each",
      ).to.equal(true);
      const left = await server.admin.keys("sse:queue:{tasks}:shared:[rl]e*");
      expect(left, "what is ready, and leases").to.deep.equal([]);
    });

    it("a service with a queue and a worker holds two connections, and none after its close", async () => {
      const asBefore = await server.baseline();
      const sse = service();
      const queue = sse.queue("connections");
      await queue.enqueue("kind", null);
      expect(await server.connections(), "to enqueue").to.deep.equal(["redis-sse:command"]);
      queue.worker(() => {}, { concurrency: 10 });
      sse.queue("others").worker(() => {});
      const { id } = await queue.enqueue("kind", null);
      await eventually(async () => expect((await queue.get(id))!.status).to.equal("succeeded"));
      await untilIdle(sse);
      expect((await server.connections()).toSorted()).to.deep.equal([
        "redis-sse:command",
        "redis-sse:subscriber",
      ]);
      await sse.close();
      await asBefore();
    });

    it("a worker that idles while the server is killed and booted again takes tasks again, at once", async () => {
      const sse = service();
      const started: string[] = [];
      sse.queue("rebooted").worker(({ task }) => void started.push(task.id));
      await untilIdle(sse);
      await server.kill();
      await server.boot();
      await eventually(async () => {
        expect(await server.receiversOf("sse:queue:{tasks}:rebooted:wake")).to.equal(1);
        expect((await sse.status()).redis).to.not.have.property("fault");
      });
      await settle();
      for (const id of ["one", "two", "three"]) {
        await service().queue("rebooted").enqueue("kind", null, { id });
        await eventually(() => expect(started).to.include(id), 1_500);
      }
    });

    it("a task that was enqueued while the subscription was lost is taken when it is back", async () => {
      const sse = service();
      const started: string[] = [];
      const producer = service().queue("interrupted");
      sse.queue("interrupted").worker(({ task }) => void started.push(task.id));
      await untilIdle(sse);
      await producer.get("warm"); // connected
      await server.admin.call("CLIENT", "KILL", "TYPE", "pubsub");
      await producer.enqueue("kind", null, { id: "unheard" });
      expect(await server.receiversOf("sse:queue:{tasks}:interrupted:wake"), "who heard of it").to.equal(0);
      await eventually(() => expect(started).to.deep.equal(["unheard"]), 4_000);
    });

    it("a task that ends while the server does not answer is completed once", async () => {
      const sse = service();
      const queue = sse.queue("frozen");
      await queue.enqueue("kind", null, { id: "frozen" });
      const release = deferred();
      let begun = 0;
      const worker = queue.worker(() => {
        begun++;
        return release.promise;
      });
      await eventually(() => expect(worker.running).to.equal(1));
      server.signal("SIGSTOP");
      try {
        release.resolve();
        await settle();
        expect(worker.running).to.equal(1);
      } finally {
        server.signal("SIGCONT");
      }
      await eventually(async () => expect((await queue.get("frozen"))!.status).to.equal("succeeded"));
      await untilIdle(sse);
      expect((await queue.counts()).totals).to.include({ succeeded: 1, refused: 0, lost: 0 });
      expect(begun).to.equal(1);
    });

    it("a user who may not publish enqueues a task, or is refused and has enqueued none", async () => {
      await server.admin.call("ACL", "SETUSER", "mute", "on", ">pass", "~*", "+@all", "resetchannels");
      const queue = service({ redis: `redis://mute:pass@127.0.0.1:${server.port}` }).queue("mute");
      const refused = await queue.enqueue("kind", null, { id: "mute" }).then(
        () => false,
        () => true,
      );
      expect((await queue.get("mute")) === null, "not stored").to.equal(refused);
      expect(await server.admin.zcard("sse:queue:{tasks}:mute:ready")).to.equal(refused ? 0 : 1);
    });

    for (const [what, refuse, allow] of [
      ["is out of memory", ["maxmemory", "1"], ["maxmemory", "0"]],
      ["is a replica", ["replicaof", "127.0.0.1", "1"], ["replicaof", "no", "one"]],
    ] as const) {
      it(`a server that ${what} refuses a task as REDIS_REFUSED, and nothing of it is stored`, async () => {
        const queue = service().queue("refused");
        await queue.enqueue("kind", null, { id: "before" });
        const set = ([first, ...rest]: readonly string[]): Promise<unknown> =>
          first === "maxmemory"
            ? server.admin.config("SET", first, rest[0]!)
            : server.admin.replicaof(rest[0]!, rest[1]!);
        await set(refuse);
        try {
          expectFault(await faultOf(queue.enqueue("kind", null, { id: "refused" })), "REDIS_REFUSED");
        } finally {
          await set(allow);
        }
        expect(await queue.get("refused")).to.equal(null);
        expect(await server.admin.zrange("sse:queue:{tasks}:refused:ready", "0", "-1")).to.deep.equal([
          "before",
        ]);
      });
    }

    describe("and an answer of the server is lost", () => {
      let proxy: TcpProxy;

      beforeEach(async () => {
        proxy = await TcpProxy.start(server.port);
        ends.push(() => proxy.close());
      });

      /** Cuts the link of the next answer with this in it. */
      const cutInReplyWith = (text: string): void =>
        proxy.cutInReply((reply) => (reply.includes(text) ? 0 : -1));

      it("the task whose enqueuing it was is in the queue once, and its caller has it", async () => {
        const queue = service({ redis: proxy.url }).queue("cut");
        await queue.enqueue("warm", null, { id: "warm" });
        proxy.cutAtReply();
        const task = await queue.enqueue("kind", null);
        expect(proxy.cutPending).to.equal(false);
        expect(await server.admin.zrange("sse:queue:{tasks}:cut:ready", "0", "-1")).to.deep.equal([
          "warm",
          task.id,
        ]);
        expect(await queue.get(task.id)).to.deep.equal(task);
      });

      /** A queue as seen past the proxy, and a worker behind it that has done a task already. */
      async function startWorker(
        leaseMs = 300,
      ): Promise<{ worker: RedisSse; queue: QueueService; started: Task[] }> {
        const queue = service().queue("cut");
        const worker = service({ redis: proxy.url });
        const started: Task[] = [];
        worker.queue("cut").worker(
          ({ task }) => {
            started.push(task);
            // What settles one task is answered so.
            if (task.id === "ended") cutInReplyWith("$1\r\n1\r\n");
            return `result of ${task.id}`;
          },
          { leaseMs, pollMs: 20 },
        );
        await queue.enqueue("kind", null, { id: "warm" });
        await eventually(async () => expect((await queue.get("warm"))!.status).to.equal("succeeded"));
        return { worker, queue, started };
      }

      it("the notification whose storing it confirmed is stored and sent once", async () => {
        const { notifications } = service({ redis: proxy.url });
        const heard = await listen(service(), "notifications:ada");
        ends.push(() => heard.stop());
        await notifications.create({ userId: "ada", title: "warm" });
        proxy.cutAtReply();
        const id = await notifications.create({ userId: "ada", title: "cut here" });
        expect(proxy.cutPending).to.equal(false);
        const stored = await notifications.list("ada");
        expect(stored.map(({ title }) => title)).to.deep.equal(["cut here", "warm"]);
        expect(stored[0]!.id).to.equal(id);
        await heard.sync();
        expect(heard.messages).to.have.length(2);
      });

      it("the task that it gave to a worker is given to it when it asks again, and counts as one attempt", async () => {
        const { queue, started } = await startWorker(10_000);
        cutInReplyWith("given\n");
        await queue.enqueue("kind", null, { id: "given" });
        await eventually(async () => expect((await queue.get("given"))!.status).to.equal("succeeded"));
        expect(proxy.cutPending).to.equal(false);
        expect(started.map(({ id, attempt }) => [id, attempt])).to.deep.equal([
          ["warm", 1],
          ["given", 1],
        ]);
      });

      it("the task whose end it confirmed is completed once", async () => {
        const { worker, queue, started } = await startWorker();
        await queue.enqueue("kind", null, { id: "ended" });
        await eventually(async () => expect((await queue.get("ended"))!.status).to.equal("succeeded"));
        await eventually(() => expect(proxy.cutPending).to.equal(false));
        await untilIdle(worker); // connected again
        expect(await queue.get("ended")).to.include({ result: "result of ended", attempt: 1 });
        expect(started.map(({ id }) => id)).to.deep.equal(["warm", "ended"]);
        expect((await queue.counts()).totals).to.include({ succeeded: 2, refused: 0, lost: 0 });
      });
    });
  });
});
