import { expect } from "chai";
import * as fc from "fast-check";
import { stub } from "sinon";

import type { TaskContext } from "../../../lib/index.js";
import { eventually } from "../../support/eventually.js";
import { anyThrown, HOSTILE } from "../../support/hostile.js";
import type { QueueRig } from "../../support/queue-rig.js";

/** Places at which a handler throws or passes a hostile value. */
const PLACES = ["throws", "rejects", "returns", "onError", "progress", "log", "write"] as const;

interface Deed {
  readonly place: (typeof PLACES)[number];
  readonly make: () => unknown;
}

/** Returns an argument whose properties throw. */
function argument(make: () => unknown): object {
  const fail = (): never => {
    throw make();
  };
  return {
    get progress() {
      return fail();
    },
    get message() {
      return fail();
    },
  };
}

async function commit({ place, make }: Deed, { progress, log, write }: TaskContext): Promise<unknown> {
  if (place === "progress") void progress(argument(make));
  if (place === "log") void log(argument(make) as never);
  if (place === "write") void write(argument(() => new Error("no")));
  if (place === "returns") return make();
  if (place === "rejects" || place === "onError") throw make();
  return null;
}

/** Tests handlers that throw any value. */
export function describeThrownValues(rig: QueueRig): void {
  describe("value that a handler throws", () => {
    /** Runs one task for each deed, each followed by a normal task. */
    async function run(deeds: readonly Deed[]): Promise<void> {
      const queue = rig.sse.queue(`${rig.name}-${Math.random().toString(36).slice(2)}`);
      const deedOf = (payload: unknown): Deed | undefined => deeds[payload as number];
      await queue.enqueueMany(
        deeds.flatMap((_, index) => [
          { kind: "bad", payload: index, options: { attempts: 1 } },
          { kind: "good", payload: null },
        ]),
      );
      const worker = queue.worker(
        (context) => {
          if (context.task.kind === "good") return "fine";
          const deed = deedOf(context.task.payload)!;
          if (deed.place === "throws") throw deed.make();
          return commit(deed, context);
        },
        {
          concurrency: 3,
          onError(_, { payload }) {
            const deed = deedOf(payload)!;
            if (deed.place === "onError") throw deed.make();
          },
        },
      );
      await eventually(async () => {
        const { succeeded, failed } = await queue.counts();
        expect(succeeded + failed).to.equal(2 * deeds.length);
      });
      await worker.stop();
      const { tasks } = await queue.list("succeeded", { limit: 1_000 });
      expect(tasks.filter(({ kind }) => kind === "good")).to.have.length(deeds.length);
      const dead = await queue.deadLetters.list({ limit: 1_000 });
      const hasThrown = deeds.filter(({ place }) => ["throws", "rejects", "onError"].includes(place));
      expect(dead.tasks.length).to.be.at.least(hasThrown.length);
      for (const { error } of dead.tasks) {
        expect(error).to.be.a("string").and.not.equal("");
        expect(Buffer.byteLength(error!)).to.be.at.most(8 * 1024);
      }
    }

    for (const [what, make] of Object.entries(HOSTILE)) {
      it(`may be ${what}`, () => run(PLACES.map((place) => ({ place, make }))));
    }

    it("may be anything without an effect on other tasks", async () => {
      const deed = fc.record({ place: fc.constantFrom(...PLACES), make: anyThrown });
      await fc.assert(fc.asyncProperty(fc.array(deed, { minLength: 1, maxLength: 10 }), run), {
        numRuns: 5,
      });
    });

    it("is printed if onError is not set", async () => {
      const print = stub(console, "error");
      try {
        const makers = Object.values(HOSTILE);
        rig.queue.worker(
          ({ task }) => {
            throw makers[task.payload as number]!();
          },
          { concurrency: 5 },
        );
        const kind = "100%\nd";
        await rig.queue.enqueueMany(
          makers.map((_, payload) => ({ kind, payload, options: { attempts: 1 } })),
        );
        await eventually(async () => expect((await rig.queue.counts()).failed).to.equal(makers.length));
        expect(print.callCount).to.be.at.least(makers.length);
        for (const { args } of print.getCalls()) {
          expect(args).to.have.length(1);
          expect(args[0]).to.match(/^redis-sse: task \S+ \("100%\\nd"\) failed: /);
        }
      } finally {
        print.restore();
      }
    });
  });
}
