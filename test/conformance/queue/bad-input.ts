import { expect } from "chai";
import { z } from "zod";

import {
  ConfigError,
  type EnqueueOptions,
  type QueueOptions,
  type TaskHandler,
  type WorkerOptions,
} from "../../../lib/index.js";
import { useQueue } from "../../support/queue-rig.js";
import { circular, expectFault, faultOf, thrower, type MakeService } from "../../support/service.js";

const YEAR_MS = 365 * 24 * 3_600_000;
const show = (value: unknown): string =>
  `${JSON.stringify([value]).slice(1, -1).slice(0, 40)} (${typeof value})`;

/** Refused with a code and a sentence, before anything has happened. */
export function describeBadInput(makeService: MakeService): void {
  describe("bad input", () => {
    const rig = useQueue(makeService);

    async function expectNothing(): Promise<void> {
      expect(await rig.raw.keys("sse:*")).to.deep.equal([]);
    }

    for (const kind of ["", "k".repeat(129), 7, undefined, null, ["kind"]]) {
      it(`the kind ${show(kind)} is INVALID_TASK`, async () => {
        expectFault(await faultOf(rig.queue.enqueue(kind as string, null)), "INVALID_TASK");
        await expectNothing();
      });
    }

    for (const id of ["", "a b", "../../x", "a:b", "{a}", "a\n", "é", "x".repeat(129), 7, null, ["a"], {}]) {
      it(`the id ${show(id)} is INVALID_TASK, wherever it is given`, async () => {
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
      ["circular", circular, "UNSERIALIZABLE"],
      ["undefined", undefined, "UNSERIALIZABLE"],
      ["a function", () => {}, "UNSERIALIZABLE"],
      ["a symbol", Symbol("payload"), "UNSERIALIZABLE"],
      ["an object whose toJSON throws", thrower, "UNSERIALIZABLE"],
      ["longer than the limit", "x".repeat(256 * 1024 - 1), "TASK_TOO_LARGE"],
      ["longer than the limit in bytes, not in characters", "é".repeat(128 * 1024), "TASK_TOO_LARGE"],
    ] as const) {
      it(`a payload that is ${what} is ${code}`, async () => {
        const fault = await faultOf(rig.queue.enqueue("kind", payload));
        expectFault(fault, code);
        expect(String(fault)).to.not.include("hunter2");
        await expectNothing();
      });
    }

    const enqueueOptions: readonly (readonly [keyof EnqueueOptions, readonly unknown[], string?])[] = [
      ["delayMs", [-1, 0.5, NaN, Infinity, "5", null, YEAR_MS + 1]],
      ["runAt", [-1, NaN, new Date(NaN), "2030-01-01", null, {}, 8.64e15 + 1]],
      ["priority", [-101, 101, 0.5, NaN, "1", null]],
      ["attempts", [0, -1, 1.5, 1_001, NaN, "3", null]],
      ["timeoutMs", [0, -1, 0.5, Infinity, "5", null, 2 ** 31]],
      ["resultTtlMs", [0, -1, 0.5, Infinity, "60", null, YEAR_MS + 1]],
      [
        "backoff",
        [
          -1,
          0.5,
          NaN,
          "5",
          null,
          [],
          { type: "linear" },
          { delayMs: -1 },
          { jitter: 2 },
          { jitter: "1" },
          { maxDelayMs: NaN },
          { delayMs: 2_000, maxDelayMs: 1_000 },
          { factor: 2 },
        ],
      ],
      [
        "deduplicate",
        ["", "k".repeat(257), "two\nlines", "two\rlines", 7, null, [], { key: "" }, {}, { windowMs: 5 }],
        "INVALID_TASK",
      ],
      [
        "deduplicate",
        [
          { key: "k", windowMs: 0 },
          { key: "k", windowMs: "5" },
          { key: "k", ttl: 1 },
        ],
      ],
    ];
    for (const [option, values, code = "CONFIG"] of enqueueOptions) {
      for (const value of values) {
        it(`${option}: ${show(value)} is ${code}, by name`, async () => {
          const fault = await faultOf(rig.queue.enqueue("kind", null, { [option]: value }));
          expectFault(fault, code);
          expect((fault as Error).message).to.include(option);
          await expectNothing();
        });
      }
    }

    it("delayMs and runAt together, and options that there are not, are CONFIG", async () => {
      for (const options of [{ delayMs: 1, runAt: 1 }, { delay: 1 }, { ttl: 5 }, null, [], "a", 7]) {
        expectFault(await faultOf(rig.queue.enqueue("kind", null, options as EnqueueOptions)), "CONFIG");
      }
      await expectNothing();
    });

    it("options that are undefined are not given", async () => {
      const nothing: EnqueueOptions = {
        id: undefined,
        delayMs: undefined,
        runAt: undefined,
        priority: undefined,
        attempts: undefined,
        backoff: undefined,
        timeoutMs: undefined,
        resultTtlMs: undefined,
        deduplicate: undefined,
      };
      expect(await rig.queue.enqueue("kind", null, nothing)).to.include({ status: "queued", priority: 0 });
    });

    it("the largest and the smallest that can be are taken", async () => {
      for (const options of [
        {
          delayMs: YEAR_MS,
          priority: 100,
          attempts: 1_000,
          timeoutMs: 2 ** 31 - 1,
          resultTtlMs: YEAR_MS,
          backoff: YEAR_MS,
        },
        { runAt: 8.64e15, priority: -100, attempts: 1, timeoutMs: 1, resultTtlMs: 1, backoff: 0 },
      ]) {
        const task = await rig.queue.enqueue("kind", null, options);
        expect(await rig.queue.get(task.id)).to.deep.equal(task);
        expect((await rig.queue.list("delayed")).tasks.map(({ id }) => id)).to.include(task.id);
      }
    });

    for (const given of ["", "a b", "a:b", "{a}", "a\n", "é", "x".repeat(65), 7, null, ["a"]]) {
      it(`the queue name ${show(given)} is CONFIG`, () => {
        expect(() => rig.sse.queue(given as string)).to.throw(ConfigError, /name/);
      });
    }

    const queueOptions: readonly (readonly [keyof QueueOptions, readonly unknown[]])[] = [
      ["attempts", [0, 1.5, NaN, Infinity, "3", 1_001, null]],
      ["backoff", [-1, "5", null, { type: "linear" }, { delay: 5 }]],
      ["timeoutMs", [0, 0.5, "5", null]],
      ["resultTtlMs", [0, -1, 0.5, Infinity, "60", YEAR_MS + 1]],
      ["deadLetterTtlMs", [0, -1, 0.5, Infinity, "60", YEAR_MS + 1]],
      ["maxResults", [0, -1, 0.5, Infinity, "60", 10_000_001]],
      [
        "rateLimit",
        [
          5,
          null,
          {},
          { max: 5 },
          { intervalMs: 5 },
          { max: 0, intervalMs: 5 },
          { max: 1, intervalMs: 0 },
          { max: 1, intervalMs: 1, burst: 1 },
        ],
      ],
      [
        "results",
        [5, null, [], { days: 1 }, { ttlMs: 0 }, { maxCount: 0 }, { maxBytes: 0 }, { maxPayloadBytes: -1 }],
      ],
      ["unknownKindMs", [-1, 0.5, "5", null, YEAR_MS + 1]],
      ["progressMs", [-1, 0.5, "5", 60_001]],
      ["schemas", [5, null, [], { kind: {} }, { kind: () => true }]],
    ];
    for (const [option, values] of queueOptions) {
      for (const value of values) {
        it(`the queue option ${option}: ${show(value)} is CONFIG`, () => {
          const options = { [option]: value } as QueueOptions;
          expect(() => rig.sse.queue(`${rig.name}-bad`, options)).to.throw(ConfigError, option);
        });
      }
    }

    it("a queue option that there is not, and other options with a queue's second use, are CONFIG", () => {
      expect(() => rig.sse.queue(`${rig.name}-bad`, { retries: 3 } as QueueOptions)).to.throw(
        ConfigError,
        /retries/,
      );
      expect(() => rig.sse.queue(`${rig.name}-bad`, null as unknown as QueueOptions)).to.throw(ConfigError);
      expect(() => rig.sse.queue(rig.name, { attempts: 4 })).to.throw(ConfigError, /first named/);
      expect(() => rig.sse.queue(rig.name, { schemas: {} })).to.throw(ConfigError, /first named/);
      expect(rig.sse.queue(rig.name)).to.equal(rig.queue);
    });

    it("a queue's options that are given again are fine where they are the same", () => {
      const schemas = { kind: z.string() };
      const options = (): object => ({ attempts: 2, backoff: { delayMs: 5 }, schemas: { ...schemas } });
      const queue = rig.sse.queue(`${rig.name}-again`, options());
      expect(rig.sse.queue(`${rig.name}-again`, options())).to.equal(queue);
      for (const other of [{ schemas: { kind: z.string() } }, { backoff: 5 }, { schemas: undefined }]) {
        const given = { ...options(), ...other } as QueueOptions;
        expect(() => rig.sse.queue(`${rig.name}-again`, given)).to.throw(ConfigError);
      }
    });

    const workerOptions: readonly (readonly [keyof WorkerOptions, readonly unknown[]])[] = [
      ["concurrency", [0, 1.5, 1_001, "2", null]],
      ["leaseMs", [9, NaN, 24 * 3_600_000 + 1, "1000"]],
      ["pollMs", [0, 5_001, Infinity, "100"]],
      ["signal", [5, null, {}, "signal", new AbortController()]],
      ["onError", [5, null, {}]],
    ];
    for (const [option, values] of workerOptions) {
      for (const value of values) {
        it(`the worker option ${option}: ${show(value)} is CONFIG`, () => {
          expect(() => rig.queue.worker(rig.hang, { [option]: value })).to.throw(ConfigError, option);
          expect(rig.queue.statistics.workers).to.equal(0);
        });
      }
    }

    it("a worker option that there is not is CONFIG", () => {
      expect(() => rig.queue.worker(rig.hang, { threads: 2 } as WorkerOptions)).to.throw(
        ConfigError,
        /threads/,
      );
    });

    for (const handler of [undefined, null, 7, "handler", {}, { kind: 7 }, { kind: null }]) {
      it(`the handler ${show(handler)} is CONFIG`, () => {
        expect(() => rig.queue.worker(handler as unknown as TaskHandler)).to.throw(ConfigError, /handler/);
      });
    }
  });
}
