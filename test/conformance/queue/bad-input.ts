import { expect } from "chai";
import { z } from "zod";

import { ConfigError, type EnqueueOptions, type QueueOptions, type TaskHandler } from "../../../lib/index.js";
import type { QueueRig } from "../../support/queue-rig.js";
import { circular, expectFault, faultOf, thrower } from "../../support/service.js";

const YEAR_MS = 365 * 24 * 3_600_000;
const show = (value: unknown): string => JSON.stringify([value]).slice(1, -1).slice(0, 40);

type Cases = readonly (readonly [option: string, values: readonly unknown[], code?: string])[];

/** Tests that invalid input is rejected with a code and a message before it has any effect. */
export function describeBadInput(rig: QueueRig): void {
  describe("invalid input", () => {
    async function expectNothing(): Promise<void> {
      expect(await rig.raw.keys("sse:*")).to.deep.equal([]);
    }

    it("rejects an invalid kind as INVALID_TASK", async () => {
      for (const kind of ["", "k".repeat(129), 7, undefined, null, ["kind"]])
        expectFault(await faultOf(rig.queue.enqueue(kind as string, null)), "INVALID_TASK", show(kind));
      await expectNothing();
    });

    for (const id of ["", "a b", "../../x", "a:b", "{a}", "a\n", "é", "x".repeat(129), 7, null, ["a"]]) {
      it(`rejects the id ${show(id)} as INVALID_TASK in every function`, async () => {
        const given = id as string;
        for (const attempt of [
          rig.queue.enqueue("kind", null, { id: given }),
          rig.queue.get(given),
          rig.queue.cancel(given),
          rig.queue.publishProgress(given, { progress: 1 }),
          rig.sse.task(given),
        ]) {
          expectFault(await faultOf(attempt), "INVALID_TASK");
        }
        await expectNothing();
      });
    }

    for (const [what, payload, code] of [
      ["a BigInt", { amount: 1n }, "UNSERIALIZABLE"],
      ["a circular object", circular, "UNSERIALIZABLE"],
      ["undefined", undefined, "UNSERIALIZABLE"],
      ["a function", () => {}, "UNSERIALIZABLE"],
      ["an object whose toJSON throws", thrower, "UNSERIALIZABLE"],
      ["a string over the limit in bytes but not in characters", "é".repeat(128 * 1024), "TASK_TOO_LARGE"],
    ] as const) {
      it(`rejects ${what} as payload with ${code}`, async () => {
        const fault = await faultOf(rig.queue.enqueue("kind", payload));
        expectFault(fault, code);
        expect(String(fault)).to.not.include("hunter2");
        await expectNothing();
      });
    }

    const backoffs = [-1, 0.5, "5", null, [], { type: "linear" }, { jitter: 2 }, { factor: 2 }];
    const enqueueOptions: Cases = [
      ["delayMs", [-1, 0.5, NaN, "5", null, YEAR_MS + 1]],
      ["runAt", [-1, new Date(NaN), "2030-01-01", null, {}, 8.64e15 + 1]],
      ["priority", [-101, 101, 0.5, "1", null]],
      ["attempts", [0, 1.5, 1_001, "3", null]],
      ["timeoutMs", [0, 0.5, "5", null, 2 ** 31]],
      ["resultTtlMs", [0, 0.5, "60", null, YEAR_MS + 1]],
      ["backoff", [...backoffs, { delayMs: 2_000, maxDelayMs: 1_000 }]],
      ["deduplicate", ["", "k".repeat(257), "two\nlines", 7, null, [], { key: "" }, {}], "INVALID_TASK"],
      [
        "deduplicate",
        [
          { key: "k", windowMs: 0 },
          { key: "k", ttl: 1 },
        ],
      ],
    ];
    for (const [option, values, code = "CONFIG"] of enqueueOptions) {
      it(`rejects an invalid ${option} in enqueue() with ${code} and names it`, async () => {
        for (const value of values) {
          const fault = await faultOf(rig.queue.enqueue("kind", null, { [option]: value }));
          expectFault(fault, code, show(value));
          expect((fault as Error).message).to.include(option);
        }
        await expectNothing();
      });
    }

    it("rejects delayMs together with runAt, and unknown options, as CONFIG", async () => {
      for (const options of [{ delayMs: 1, runAt: 1 }, { delay: 1 }, null, [], "a"]) {
        expectFault(await faultOf(rig.queue.enqueue("kind", null, options as EnqueueOptions)), "CONFIG");
      }
      await expectNothing();
    });

    it("ignores options that are undefined", async () => {
      const nothing = Object.fromEntries(enqueueOptions.map(([option]) => [option, undefined]));
      expect(await rig.queue.enqueue("kind", null, nothing)).to.include({ status: "queued", priority: 0 });
    });

    it("accepts the largest and the smallest valid options", async () => {
      const most = { priority: 100, attempts: 1_000, timeoutMs: 2 ** 31 - 1, resultTtlMs: YEAR_MS };
      for (const options of [
        { ...most, delayMs: YEAR_MS, backoff: YEAR_MS },
        { runAt: 8.64e15, priority: -100, attempts: 1, timeoutMs: 1, resultTtlMs: 1, backoff: 0 },
      ]) {
        const task = await rig.queue.enqueue("kind", null, options);
        expect(await rig.queue.get(task.id)).to.deep.equal(task);
        expect((await rig.queue.list("delayed")).tasks.map(({ id }) => id)).to.include(task.id);
      }
    });

    it("rejects an invalid queue name as CONFIG", () => {
      for (const given of ["", "a b", "a:b", "{a}", "a\n", "é", "x".repeat(65), 7, null, ["a"]])
        expect(() => rig.sse.queue(given as string), show(given)).to.throw(ConfigError, /name/);
    });

    const durations = [0, 0.5, Infinity, "60", YEAR_MS + 1];
    const queueOptions: Cases = [
      ["attempts", [0, 1.5, "3", 1_001, null]],
      ["backoff", backoffs],
      ["timeoutMs", [0, 0.5, "5", null]],
      ["resultTtlMs", durations],
      ["deadLetterTtlMs", durations],
      ["maxResults", [0, 0.5, "60", 10_000_001]],
      ["rateLimit", [5, null, { max: 5 }, { max: 0, intervalMs: 5 }, { max: 1, intervalMs: 0 }]],
      ["rateLimit", [{ max: 1, intervalMs: 1, burst: 1 }]],
      ["results", [5, null, [], { days: 1 }, { ttlMs: 0 }, { maxCount: 0 }, { maxPayloadBytes: -1 }]],
      ["unknownKindMs", [-1, 0.5, "5", null, YEAR_MS + 1]],
      ["progressMs", [-1, 0.5, "5", 60_001]],
      ["schemas", [5, null, [], { kind: {} }, { kind: () => true }]],
      ["retries", [3]],
    ];
    for (const [option, values] of queueOptions) {
      it(`rejects an invalid queue option ${option} as CONFIG: ${show(values[0])}`, () => {
        for (const value of values) {
          const options = { [option]: value } as QueueOptions;
          const make = (): unknown => rig.sse.queue(`${rig.name}-bad`, options);
          expect(make, show(value)).to.throw(ConfigError, option);
        }
      });
    }

    it("accepts options for an existing queue only if they are the same", () => {
      const schemas = { kind: z.string() };
      const options = (): object => ({ attempts: 2, backoff: { delayMs: 5 }, schemas: { ...schemas } });
      const queue = rig.sse.queue(`${rig.name}-again`, options());
      expect(rig.sse.queue(`${rig.name}-again`, options())).to.equal(queue);
      expect(rig.sse.queue(`${rig.name}-again`)).to.equal(queue);
      for (const other of [{ schemas: { kind: z.string() } }, { backoff: 5 }, { schemas: undefined }]) {
        const given = { ...options(), ...other } as QueueOptions;
        expect(() => rig.sse.queue(`${rig.name}-again`, given)).to.throw(
          ConfigError,
          /already exists with other options/,
        );
      }
    });

    const workerOptions: Cases = [
      ["concurrency", [0, -1, 1.5, 1_001, NaN, "2", null]],
      ["leaseMs", [9, 10.5, 24 * 3_600_000 + 1, NaN, Infinity, "1000", null]],
      ["pollMs", [0, -1, 0.5, 5_001, NaN, Infinity, "100", null]],
      ["signal", [5, null, {}, new AbortController()]],
      ["onError", [5, null, {}]],
      ["onFault", [5, null, {}]],
      ["threads", [2]],
    ];
    for (const [option, values] of workerOptions) {
      it(`rejects an invalid worker option ${option} as CONFIG`, () => {
        for (const value of values) {
          const start = (): unknown => rig.queue.worker(rig.hang, { [option]: value });
          expect(start, show(value)).to.throw(ConfigError, option);
          expect(rig.queue.statistics.workers).to.equal(0);
        }
      });
    }

    it("rejects an invalid handler as CONFIG", () => {
      for (const handler of [undefined, null, 7, {}, { kind: 7 }, { kind: null }]) {
        expect(() => rig.queue.worker(handler as unknown as TaskHandler)).to.throw(ConfigError, /handler/);
      }
    });
  });
}
