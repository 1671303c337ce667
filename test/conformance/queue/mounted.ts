import { expect } from "chai";

import type { RedisSse, TaskProgress } from "../../../lib/index.js";
import { taskStream, type TaskStreamOptions } from "../../../middleware/express.js";
import { deferred } from "../../support/eventually.js";
import type { QueueRig } from "../../support/queue-rig.js";
import { openStream, type SseClient } from "../../support/sse-client.js";
import { startApp, type TestApp } from "../../support/test-app.js";

type Told = Pick<TaskProgress, "type" | "status" | "seq">;

/** Tests what a browser gets from `taskStream()`. */
export function describeMounted(rig: QueueRig): void {
  describe("taskStream()", () => {
    let app: TestApp;
    const apps: TestApp[] = [];
    const clients: SseClient[] = [];

    /** Mounts a stream for every task except "secret". */
    const mount = async (
      options: TaskStreamOptions<{ id: string }> = {},
      sse: RedisSse = rig.sse,
    ): Promise<void> => {
      app = await startApp((express) =>
        express.get(
          "/:id",
          taskStream<{ id: string }>(({ params: { id } }) => id !== "secret" && id, {
            service: sse,
            ...options,
          }),
        ),
      );
      apps.push(app);
    };

    const open = async (id: string, lastEventId?: string): Promise<SseClient> => {
      const headers = lastEventId === undefined ? {} : { "Last-Event-ID": lastEventId };
      const client = await openStream(`${app.url}/${id}`, { headers });
      clients.push(client);
      return client;
    };

    const told = ({ events }: SseClient): readonly Told[] =>
      events
        .filter(({ event }) => event === "message")
        .map(({ data }) => JSON.parse(data) as TaskProgress)
        .map(({ type, status, seq }) => ({ type, status, seq }));

    const textOf = ({ events }: SseClient, name: string): string =>
      events
        .filter(({ event }) => event === name)
        .map(({ data }) => data)
        .join("");

    const until = (client: SseClient, type: string): Promise<unknown> =>
      client.next(({ event, data }) => event === "message" && data.includes(`"type":"${type}"`));

    beforeEach(() => mount());

    afterEach(async () => {
      for (const client of clients.splice(0)) client.destroy();
      await Promise.all(apps.splice(0).map((each) => each.close()));
    });

    it("sends the current state of a task, its progress, its end, and then 204", async () => {
      const { id } = await rig.queue.enqueue("kind", null);
      const client = await open(id);
      await until(client, "queued");
      rig.queue.worker(async ({ progress, write }) => {
        await progress(50);
        await write("half");
      });
      await client.ended;
      expect(told(client)).to.deep.equal([
        { type: "queued", status: "queued", seq: 1 },
        { type: "started", status: "running", seq: 2 },
        { type: "progress", status: "running", seq: 3 },
        { type: "succeeded", status: "succeeded", seq: 5 },
      ]);
      expect(textOf(client, "chunk")).to.equal("half");
      expect((await open(id, client.events.at(-1)!.id)).status).to.equal(204);
    });

    it("sends the current state in one event and the output of the current attempt to a late client", async () => {
      const { id } = await rig.queue.enqueue("kind", null, { backoff: 0 });
      const gate = deferred();
      const second = deferred();
      rig.queue.worker(
        async ({ attempt, progress, write }) => {
          await write(`attempt ${attempt}`);
          if (attempt === 1) throw new Error("no");
          for (const percent of [10, 20, 30]) await progress(percent);
          second.resolve();
          await gate.promise;
        },
        { onError() {} },
      );
      await second.promise;
      const client = await open(id);
      await until(client, "progress");
      expect(told(client)).to.deep.equal([{ type: "progress", status: "running", seq: 9 }]);
      gate.resolve();
      await client.ended;
      expect(told(client).map(({ type }) => type)).to.deep.equal(["progress", "succeeded"]);
      expect(textOf(client, "chunk")).to.equal("attempt 2");
    });

    it("sends the output and the end once to a client that connects after the end", async () => {
      const { id } = await rig.queue.enqueue("kind", null);
      rig.queue.worker(({ write }) => write("all there is"));
      await rig.until(id, "succeeded");
      const client = await open(id);
      await client.ended;
      expect(told(client).map(({ type }) => type)).to.deep.equal(["succeeded"]);
      expect(textOf(client, "chunk")).to.equal("all there is");
      expect((await open(id, client.events.at(-1)!.id)).status).to.equal(204);
    });

    it("replays missed events to a disconnected client and repeats none", async () => {
      const { id } = await rig.queue.enqueue("kind", null);
      const first = await open(id);
      await until(first, "queued");
      const gates = [deferred(), deferred()];
      const all = deferred();
      rig.queue.worker(async ({ progress, write }) => {
        await progress(10);
        await gates[0]!.promise;
        for (const percent of [20, 30, 40]) {
          await progress(percent);
          await write(`${percent} `);
        }
        all.resolve();
        await gates[1]!.promise;
      });
      await until(first, "progress");
      first.destroy();
      gates[0]!.resolve();
      await all.promise;
      const again = await open(id, first.events.at(-1)!.id);
      gates[1]!.resolve();
      await again.ended;
      expect(told(first).map(({ seq }) => seq)).to.deep.equal([1, 2, 3]);
      expect(told(again).map(({ seq }) => seq)).to.deep.equal([4, 6, 8, 10]);
      expect(textOf(again, "chunk")).to.equal("20 30 40 ");
    });

    it("sends `retry` and `started` before the output of a new attempt to a resumed client", async () => {
      const { id } = await rig.queue.enqueue("kind", null, { backoff: 0 });
      const first = await open(id);
      await until(first, "queued");
      const gate = deferred();
      rig.queue.worker(
        async ({ attempt, write }) => {
          await write(`attempt ${attempt}`);
          if (attempt === 1) await gate.promise.then(() => Promise.reject(new Error("no")));
        },
        { onError() {} },
      );
      await first.next(({ event }) => event === "chunk");
      first.destroy();
      gate.resolve();
      await rig.until(id, "succeeded");
      const again = await open(id, first.events.at(-1)!.id);
      await again.ended;
      expect(told(again).map(({ type }) => type)).to.deep.equal(["retry", "started", "succeeded"]);
      expect(textOf(again, "chunk")).to.equal("attempt 2");
    });

    for (const [id, status, code] of [
      ["unknown", 404, "UNKNOWN_TASK"],
      ["not an id", 400, "INVALID_TASK"],
      ["secret", 403, "FORBIDDEN"],
    ] as const) {
      it(`answers the id "${id}" with ${status}`, async () => {
        const client = await open(encodeURIComponent(id));
        await client.ended;
        expect(client.status).to.equal(status);
        expect(client.text).to.include(code);
        expect(app.errors).to.deep.equal([]);
      });
    }

    it("answers 404 for tasks of other queues if the queue option is set", async () => {
      await mount({ queue: rig.name });
      const other = await rig.sse.queue("other").enqueue("kind", null);
      expect((await open(other.id)).status).to.equal(404);
      const mine = await rig.queue.enqueue("kind", null);
      expect((await open(mine.id)).status).to.equal(200);
    });

    it("sends the current state, live events and the end also without history", async () => {
      const sse = await rig.service({ history: false });
      const queue = sse.queue(rig.name);
      await mount({}, sse);
      const { id } = await queue.enqueue("kind", null);
      const client = await open(id);
      await until(client, "queued");
      queue.worker(() => 1);
      await client.ended;
      expect(told(client).map(({ status }) => status)).to.deep.equal(["queued", "running", "succeeded"]);
      const late = await open(id);
      await late.ended;
      expect(told(late).map(({ status }) => status)).to.deep.equal(["succeeded"]);
    });
  });
}
