import { expect } from "chai";
import { z } from "zod";

import type { QueueService, TaskSchemas } from "../../../lib/index.js";
import { deferred } from "../../support/eventually.js";
import { unreadable } from "../../support/hostile.js";
import type { QueueRig } from "../../support/queue-rig.js";
import { expectFault, faultOf } from "../../support/service.js";

type Media = { resize: { file: string; width: number }; probe: string };

/** Tests the schemas of payloads. */
export function describeSchemas(rig: QueueRig): void {
  describe("schemas", () => {
    const schemas: TaskSchemas<Media> = {
      resize: z.object({ file: z.string(), width: z.number().default(100) }),
      probe: z.string().transform((text) => text.trim()),
    };
    let queue: QueueService<Media>;

    beforeEach(async () => {
      queue = (await rig.service()).queue<Media>("media", { schemas });
    });

    it("store the output of the schema, and the worker gets it", async () => {
      const task = await queue.enqueue("probe", "  a file ");
      expect(task.payload).to.equal("a file");
      expect(await queue.get(task.id)).to.deep.equal(task);
      await queue.enqueue("resize", { file: "a", size: 5 } as never);
      const seen: unknown[] = [];
      const both = deferred();
      queue.worker({
        resize: ({ task: { payload } }) => (seen.push([payload.file, payload]), both.resolve()),
        probe: ({ task: { payload } }) => void seen.push(payload.length),
      });
      await both.promise;
      expect(seen).to.deep.equal([6, ["a", { file: "a", width: 100 }]]);
    });

    it("infer the types of the payload for enqueue() and for the handler", async () => {
      const typed = (await rig.service()).queue("typed", {
        schemas: { visit: z.object({ at: z.string().transform((text) => new Date(text).getTime()) }) },
      });
      // @ts-expect-error: the schema does not accept a number
      expectFault(await faultOf(typed.enqueue("visit", { at: 5 })), "INVALID_TASK");
      // @ts-expect-error: the kind is unknown
      expectFault(await faultOf(typed.enqueue("other", { at: "" })), "INVALID_TASK");
      const { id, payload } = await typed.enqueue("visit", { at: "2026-01-01T00:00:00Z" });
      const at: number = payload.at;
      const seen = deferred<number>();
      typed.worker({ visit: ({ task }) => seen.resolve(task.payload.at) });
      expect(await seen.promise).to.equal(at);
      const stored: number | undefined = (await typed.get(id))?.payload.at;
      expect(stored).to.equal(at);
    });

    it("reject an invalid payload, and name the fields but not their values", async () => {
      const wrong = { file: 7, width: "hunter2" } as never;
      const fault = await faultOf(queue.enqueue("resize", wrong));
      expectFault(fault, "INVALID_TASK");
      expect((fault as Error).message)
        .to.include("file, width")
        .and.include('"resize"')
        .and.not.include("hunter2");
      const many = await faultOf(
        queue.enqueueMany([
          { kind: "probe", payload: "fine" },
          { kind: "resize", payload: wrong },
        ]),
      );
      expectFault(many, "INVALID_TASK");
      expect((many as Error).message).to.match(/^task 1: /);
      expectFault(await faultOf(queue.enqueue("probe", 7 as never)), "INVALID_TASK");
      expect((await queue.counts()).totals.enqueued).to.equal(0);
    });

    it("reject a kind without a schema, including inherited property names", async () => {
      for (const kind of ["other", "constructor", "toString"]) {
        const fault = await faultOf(queue.enqueue(kind as never, null as never));
        expectFault(fault, "INVALID_TASK");
        expect((fault as Error).message).to.include("resize, probe");
      }
    });

    it("may be async, and enqueue() rejects with an error that they throw", async () => {
      const own = new Error("the connection to the price list is closed");
      const slow = (await rig.service()).queue("slow", {
        schemas: {
          late: {
            "~standard": { version: 1, vendor: "test", validate: async (value) => ({ value: [value] }) },
          },
          broken: {
            "~standard": {
              version: 1,
              vendor: "test",
              validate: () => {
                throw own;
              },
            },
          },
        },
      });
      expect((await slow.enqueue("late", 1)).payload).to.deep.equal([1]);
      expect(await faultOf(slow.enqueue("broken", 1))).to.equal(own);
      expect((await slow.counts()).totals.enqueued).to.equal(1);
    });

    for (const [what, own] of [
      ["an error whose text looks like a Redis error", new Error("Connection is closed.")],
      ["an error whose properties throw", unreadable()],
    ] as const) {
      it(`make enqueue() and enqueueMany() reject with ${what}`, async () => {
        const throwing = (): never => {
          throw own;
        };
        const broken = (await rig.service()).queue("broken", {
          schemas: { broken: { "~standard": { version: 1, vendor: "test", validate: throwing } } },
        });
        const faults: unknown[] = [];
        const entry = { kind: "broken", payload: 1 } as const;
        await broken.enqueue("broken", 1).catch((error: unknown) => void faults.push(error));
        await broken.enqueueMany([entry, entry]).catch((error: unknown) => void faults.push(error));
        expect(faults).to.have.length(2);
        for (const fault of faults) expect(fault === own).to.equal(true);
        expect((await broken.counts()).totals.enqueued).to.equal(0);
      });
    }
  });
}
