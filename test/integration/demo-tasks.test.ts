import { dirname } from "node:path";

import { expect } from "chai";
import type { QueueCounts, TaskProgress } from "redis-sse";

import type { TaskView } from "../../demo/task-view.js";
import { startDemo, startDemoWith, type DemoProcess } from "../support/demo-process.js";
import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { openStream, type ReceivedEvent, type SseClient } from "../support/sse-client.js";

/** The machine may have a lot to do. */
const PATIENCE_MS = 15_000;

/** What the demo shows of its queue. */
function describeTasks(name: string, start: (context: Mocha.Context) => Promise<DemoProcess>): void {
  describe(`the demo's tasks on ${name}`, function () {
    this.timeout(2 * PATIENCE_MS);

    let demo: DemoProcess;
    const clients: SseClient[] = [];

    before(async function () {
      this.timeout(300_000);
      demo = await start(this);
    });

    afterEach(() => {
      for (const client of clients.splice(0)) client.destroy();
    });

    after(() => demo?.stop());

    async function open(path: string): Promise<SseClient> {
      const client = await openStream(`${demo.url}${path}`);
      clients.push(client);
      return client;
    }

    async function ask<Answer>(method: string, path: string, body?: object): Promise<Answer> {
      const response = await fetch(`${demo.url}${path}`, {
        method,
        headers: { "Content-Type": "application/json" },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
      expect(response.ok, `${method} ${path}: ${response.status}`).to.equal(true);
      return (response.status === 204 ? {} : await response.json()) as Answer;
    }

    const enqueue = async (body: object): Promise<string> =>
      (await ask<{ id: string }>("POST", "/api/tasks", body)).id;

    const see = (id: string): Promise<TaskView> => ask("GET", `/api/tasks/${id}`);

    function becomes(id: string, status: string): Promise<TaskView> {
      return eventually(async () => {
        const task = await see(id);
        expect(task.status).to.equal(status);
        return task;
      }, PATIENCE_MS);
    }

    async function openPage(user: string): Promise<{ page: SseClient; sessionId: string }> {
      const page = await open(`/api/notifications/stream?user=${user}`);
      const { data } = await page.next(({ event }) => event === "connected");
      return { page, sessionId: (JSON.parse(data) as { sessionId: string }).sessionId };
    }

    it("runs a task, and streams its progress and its output to the end, then 204", async () => {
      const id = await enqueue({ kind: "report", steps: 4, stepMs: 60 });
      const stream = await open(`/api/tasks/${id}/stream`);
      await stream.ended;
      const progress = progressIn(stream);
      expect(progress.every(({ taskId }) => taskId === id)).to.equal(true);
      expect(progress.at(-1)).to.deep.include({ progress: 100, status: "succeeded", attempt: 1 });
      expect(progress.some((event) => event.status === "running" && event.progress > 0)).to.equal(true);
      expect(textIn(stream, "chunk")).to.equal("Orders are up by ");
      expect(textIn(stream, "log")).to.equal("attempt 1: 4 steps of 60 ms4 steps done");
      expect(await see(id)).to.deep.include({ id, kind: "report", status: "succeeded", progress: 100 });
      const again = await fetch(`${demo.url}/api/tasks/${id}/stream`, {
        headers: { "Last-Event-ID": stream.events.at(-1)!.id! },
      });
      expect(again.status).to.equal(204);
    });

    it("tries one that fails now and then again, and says when", async () => {
      const id = await enqueue({ kind: "flaky", steps: 2, stepMs: 20 });
      const stream = await open(`/api/tasks/${id}/stream`);
      const isRetry = ({ data }: ReceivedEvent): boolean => data.includes('"type":"retry","attempt":1');
      const { data } = await stream.next(isRetry, PATIENCE_MS);
      expect(JSON.parse(data)).to.deep.include({
        status: "delayed",
        message: "the other side did not answer",
      });
      const waiting = await see(id);
      expect(waiting.payload).to.have.property("attempts", 3);
      if (waiting.status === "delayed") expect(waiting.dueInMs).to.be.within(0, 1_000);
      await stream.ended;
      expect(progressIn(stream).at(-1)).to.deep.include({ status: "succeeded", attempt: 3 });
    });

    it("buries one that fails for good, tells operators why, requeues it and forgets it", async () => {
      const { page } = await openPage("grave");
      const id = await enqueue({ kind: "fail", steps: 2, stepMs: 1, attempts: 1 });
      await becomes(id, "failed");
      const stream = await open(`/api/tasks/${id}/stream`);
      await stream.ended;
      expect(progressIn(stream).at(-1)).to.deep.include({ status: "failed", message: "failed" });
      expect(stream.text).to.not.include("ECONNREFUSED");

      const letters = async (authorization?: string): Promise<{ status: number; text: string }> => {
        const headers = authorization === undefined ? {} : { authorization };
        const response = await fetch(`${demo.url}/api/dead-letters`, { headers });
        return { status: response.status, text: await response.text() };
      };
      expect((await letters()).text)
        .to.include(id)
        .and.not.include("ECONNREFUSED");
      expect((await letters("Bearer demo")).text).to.include("Error: connect ECONNREFUSED");
      expect(await letters("Bearer demoo")).to.have.property("status", 401);

      expect(await ask("POST", "/api/dead-letters/requeue", { ids: [id] })).to.deep.equal({ requeued: 1 });
      await page.next(({ event, data }) => event === "tasks-changed" && data.includes("requeued"));
      await eventually(async () => expect((await counts()).totals.failed).to.be.at.least(2), PATIENCE_MS);
      await becomes(id, "failed");
      expect(await ask("POST", "/api/dead-letters/purge", { ids: "all" })).to.deep.equal({ purged: 1 });
      await page.next(({ event, data }) => event === "tasks-changed" && data.includes("purged"));
      expect((await fetch(`${demo.url}/api/tasks/${id}`)).status).to.equal(404);
      expect(await ask("POST", "/api/dead-letters/requeue", { ids: [id] })).to.deep.equal({ requeued: 0 });
      expect((await letters()).text).to.not.include(id);
    });

    it("cancels one that runs and one that waits, and none that has ended", async () => {
      const running = await enqueue({ kind: "report", steps: 1_000, stepMs: 10_000 });
      const waiting = await enqueue({ kind: "report", steps: 1, stepMs: 1, delayMs: 3_600_000 });
      await becomes(running, "running");
      expect(await see(waiting)).to.have.property("status", "delayed");
      const stream = await open(`/api/tasks/${running}/stream`);
      for (const id of [running, waiting]) {
        expect(await ask("POST", `/api/tasks/${id}/cancel`)).to.deep.equal({ cancelled: true });
        await becomes(id, "cancelled");
      }
      await stream.ended;
      expect(progressIn(stream).at(-1)).to.have.property("status", "cancelled");
      const done = await enqueue({ kind: "report", steps: 1, stepMs: 1 });
      await becomes(done, "succeeded");
      expect(await ask("POST", `/api/tasks/${done}/cancel`)).to.deep.equal({ cancelled: false });
    });

    it("begins a delayed one when it is due", async () => {
      const id = await enqueue({ kind: "report", steps: 1, stepMs: 1, delayMs: 300 });
      const { createdAt, runAt, startedAt } = await becomes(id, "succeeded");
      expect(runAt).to.equal(null);
      expect(Date.parse(startedAt!) - Date.parse(createdAt)).to.be.at.least(300);
    });

    it("tells every page of new tasks, and of the queue's counts as they change", async () => {
      const { page } = await openPage("counter");
      const first = await page.next(({ event }) => event === "queue", PATIENCE_MS);
      const { totals } = JSON.parse(first.data) as QueueCounts;
      const id = await enqueue({ kind: "resize", steps: 1, stepMs: 1, attempts: 5 });
      const { data } = await page.next(({ event }) => event === "task");
      expect(JSON.parse(data)).to.deep.include({ id, kind: "resize", status: "queued" });
      await page.next(({ event, data }) => {
        if (event !== "queue") return false;
        const now = JSON.parse(data) as QueueCounts;
        return now.totals.succeeded === totals.succeeded + 1 && now.running === 0;
      }, PATIENCE_MS);
      const { tasks } = await ask<{ tasks: TaskView[] }>("GET", "/api/tasks");
      expect(tasks[0]).to.deep.include({
        id,
        status: "succeeded",
        payload: { steps: 1, stepMs: 1, attempts: 5 },
      });
    });

    it("runs several tasks at once, on one stream that follows them all", async () => {
      const { page, sessionId } = await openPage("carol");
      const ids = await Promise.all([1, 2, 3].map(() => enqueue({ kind: "import", steps: 3, stepMs: 80 })));
      for (const id of ids) {
        const task = await ask<TaskView>("PUT", `/api/streams/${sessionId}/tasks/${id}`);
        expect(task.seq).to.be.at.least(1);
      }
      for (const id of ids) {
        await page.next(({ data }) => data.includes(id) && data.includes("succeeded"), PATIENCE_MS);
        const chunks = page.events.filter(({ event, data }) => event === "chunk" && data.includes(id));
        expect(chunks.map(({ data }) => (JSON.parse(data) as { text: string }).text).join("")).to.equal(
          "Orders are up ",
        );
      }
      for (const id of ids) await ask("DELETE", `/api/streams/${sessionId}/tasks/${id}`);
      const unknown = await fetch(`${demo.url}/api/streams/nobody/tasks/${ids[0]}`, { method: "PUT" });
      expect(unknown.status).to.equal(404);
      await unknown.arrayBuffer();
    });

    const counts = (): Promise<QueueCounts> => ask("GET", "/api/queue");
  });
}

function progressIn(stream: SseClient): readonly TaskProgress[] {
  return stream.events
    .filter(({ event }) => event === "message")
    .map(({ data }) => JSON.parse(data) as TaskProgress);
}

function textIn(stream: SseClient, type: string): string {
  return stream.events
    .filter(({ event }) => event === type)
    .map(({ data }) => data)
    .join("");
}

describeTasks("ioredis-mock", () => startDemo({ PATH: `${dirname(process.execPath)}/nowhere` }));

describeTasks("a private server", async (context) => startDemoWith(await need("redis", context)));
