import { once } from "node:events";

import { expect } from "chai";

import { createRedisSse, type RedisSse, type RedisSseOptions } from "../../lib/index.js";
import { describeNotifications } from "../conformance/notifications-suite.js";
import { describeQueue } from "../conformance/queue-suite.js";
import { untilIdle } from "../support/service.js";
import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { RedisServer } from "../support/redis-server.js";

describe("tasks and notifications on a real server", () => {
  let server: RedisServer;

  before(async function () {
    server = await RedisServer.start(await need("redis", this));
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

  describe("under faults", () => {
    let services: RedisSse[];

    const service = (options?: RedisSseOptions): RedisSse => {
      const sse = createRedisSse({ redis: server.url, ...options });
      services.push(sse);
      return sse;
    };

    beforeEach(async () => {
      services = [];
      await server.admin.flushall();
    });

    afterEach(async () => {
      await Promise.all(services.map((sse) => sse.close()));
    });

    it("queues load their scripts again if the server has lost them", async () => {
      const sse = service();
      const queue = sse.queue("flushed");
      const forget = (): Promise<unknown> => server.admin.script("FLUSH");
      // Two rounds: after the first one, ioredis assumes that the server knows the scripts.
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

    it("a worker claims a task that was enqueued while its subscription was lost", async () => {
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
  });
});
