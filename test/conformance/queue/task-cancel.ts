import { expect } from "chai";

import { taskCancel, type TaskAccess, type TaskCancelOptions } from "../../../middleware/express.js";
import { eventually } from "../../support/eventually.js";
import { FakeSink } from "../../support/fake-sink.js";
import type { QueueRig } from "../../support/queue-rig.js";
import { startApp, type TestApp } from "../../support/test-app.js";

function rightsTo(id: string): TaskAccess {
  if (id === "secret") return { id: null };
  return id === "expired" ? { id, expiresAt: 0 } : { id, key: "bob" };
}

/** Tests what a browser gets from `taskCancel()`. */
export function describeTaskCancel(rig: QueueRig): void {
  describe("taskCancel()", () => {
    const apps: TestApp[] = [];
    let app: TestApp;

    /** Mounts a handler for every task except "secret" and "expired". */
    const mount = async (options: TaskCancelOptions<{ id: string }> = {}): Promise<void> => {
      app = await startApp((express) =>
        express.use(
          "/:id",
          taskCancel<{ id: string }>(({ params: { id } }) => rightsTo(id), { service: rig.sse, ...options }),
        ),
      );
      apps.push(app);
    };

    const ask = async (id: string, method = "POST"): Promise<{ status: number; body: unknown }> => {
      const response = await fetch(`${app.url}/${encodeURIComponent(id)}`, { method });
      expect(response.headers.get("cache-control")).to.equal("no-store");
      return { status: response.status, body: await response.json() };
    };

    beforeEach(() => mount());

    afterEach(() => Promise.all(apps.splice(0).map((each) => each.close())));

    it("cancels a queued task and a running task, and answers the same to a repetition", async () => {
      const queued = await rig.queue.enqueue("kind", null, { delayMs: 60_000 });
      const running = await rig.queue.enqueue("kind", null);
      let reason: unknown;
      rig.queue.worker(({ signal }) => {
        signal.addEventListener("abort", () => (reason = signal.reason));
        return rig.hang({} as never);
      });
      await rig.until(running.id, "running");
      for (const [id, method] of [
        [queued.id, "POST"],
        [running.id, "DELETE"],
        [running.id, "POST"],
      ] as const) {
        expect(await ask(id, method)).to.deep.equal({ status: 200, body: { status: "cancelled" } });
        expect(await rig.queue.get(id)).to.include({ status: "cancelled", message: "cancelled" });
      }
      await eventually(() => expect(reason).to.have.property("code", "CANCELLED"));
    });

    it("cancels nothing for a key whose right is revoked", async () => {
      const { id } = await rig.queue.enqueue("kind", null, { delayMs: 60_000 });
      // A process with streams knows the revocations.
      await rig.sse.open({}, new FakeSink(), "news");
      await rig.sse.revoke({ key: "bob" }, { forMs: 60_000 });
      await eventually(() => expect(rig.sse.check({ key: "bob" }, "news")).to.include({ code: "REVOKED" }));
      expect(await ask(id)).to.include({ status: 403 });
      expect(await rig.queue.get(id)).to.include({ status: "delayed" });
    });

    it("answers with the state of a task that has ended, and leaves it as it is", async () => {
      const { id } = await rig.queue.enqueue("kind", null);
      rig.queue.worker(() => 1);
      await rig.until(id, "succeeded");
      expect(await ask(id)).to.deep.equal({ status: 200, body: { status: "succeeded" } });
      expect(await rig.queue.get(id)).to.include({ status: "succeeded", result: 1 });
    });

    for (const [id, status, code] of [
      ["unknown", 404, "UNKNOWN_TASK"],
      ["expired", 401, "UNAUTHORIZED"],
      ["not an id", 400, "INVALID_TASK"],
      ["secret", 403, "FORBIDDEN"],
    ] as const) {
      it(`answers the id "${id}" with ${status}`, async () => {
        const { status: answered, body } = await ask(id);
        expect(answered).to.equal(status);
        expect(body).to.have.nested.property("error.code", code);
        expect(app.errors).to.deep.equal([]);
      });
    }

    it("cancels a task of another queue, unless the option queue names one", async () => {
      const other = rig.sse.queue("other");
      const [first, second] = [await other.enqueue("kind", null), await other.enqueue("kind", null)];
      expect(await ask(first.id)).to.deep.equal({ status: 200, body: { status: "cancelled" } });
      await mount({ queue: rig.name });
      expect((await ask(second.id)).status).to.equal(404);
      expect(await other.get(second.id)).to.include({ status: "queued" });
    });

    it("answers 405 to other methods, also if it is mounted for them", async () => {
      const { id } = await rig.queue.enqueue("kind", null);
      for (const method of ["GET", "PUT", "PATCH"]) {
        const response = await fetch(`${app.url}/${id}`, { method });
        expect(response.status, method).to.equal(405);
        expect(response.headers.get("allow")).to.equal("POST, DELETE");
        expect(await response.json()).to.have.nested.property("error.code", "METHOD_NOT_ALLOWED");
      }
      expect(await rig.queue.get(id)).to.include({ status: "queued" });
    });
  });
}
