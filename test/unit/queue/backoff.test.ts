import { expect } from "chai";

import { ConfigError } from "../../../lib/index.js";
import { backoffDelay, readBackoff, type Backoff } from "../../../lib/queue/backoff.js";

describe("backoffDelay()", () => {
  const waits = (given: Backoff | number, attempts: readonly number[], random = 0): readonly number[] =>
    attempts.map((attempt) => backoffDelay(readBackoff(given), attempt, random));

  it("is exponential from one second to one hour with 50% jitter by default", () => {
    expect(waits({}, [1, 2, 3, 12, 13, 1_000])).to.deep.equal([
      1_000, 2_000, 4_000, 2_048_000, 3_600_000, 3_600_000,
    ]);
    expect(waits({}, [1, 13], 0.999_999)).to.deep.equal([500, 1_800_002]);
  });

  it("uses a number as a fixed delay without jitter", () => {
    expect(waits(70, [1, 2, 50], 0.9)).to.deep.equal([70, 70, 70]);
  });

  it("changes a fixed delay only by jitter, and keeps a delayMs of more than one hour", () => {
    expect(waits({ type: "fixed", delayMs: 100, jitter: 1 }, [1, 9], 0.25)).to.deep.equal([75, 75]);
    expect(waits({ delayMs: 7_200_000, jitter: 0 }, [1, 2])).to.deep.equal([7_200_000, 7_200_000]);
  });

  it("reports the expected type and range", () => {
    for (const given of [null, "5", [], true]) {
      expect(() => readBackoff(given as unknown as Backoff)).to.throw(
        ConfigError,
        /^expected backoff as milliseconds or an object/,
      );
    }
    expect(() => readBackoff({ delayMs: 10, maxDelayMs: 9 })).to.throw(ConfigError, /maxDelayMs .* from 10 /);
  });
});
