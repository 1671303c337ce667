import { expect } from "chai";

import type { RedisSseError } from "../../../lib/errors.js";
import { runTeardown, type TeardownStage } from "../../../lib/sessions/teardown.js";
import { settle } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";

const NAMES = ["unsubscribe", "close", "reset"] as const;
const STAGE_MS = 500;

describe("runTeardown()", () => {
  let clock: FakeClock;
  let happened: string[];
  let faults: RedisSseError[];

  beforeEach(() => {
    clock = new FakeClock();
    happened = [];
    faults = [];
  });

  it("runs its stages one after the other, each when the one before is done", async () => {
    const releases: (() => void)[] = [];
    const wait = (): Promise<void> => new Promise((resolve) => releases.push(resolve));
    const done = runTeardown(stages(wait, wait, wait), clock, STAGE_MS);
    for (const expected of [["unsubscribe"], ["unsubscribe", "close"], [...NAMES]]) {
      await settle();
      expect(happened.filter((event) => !event.includes(" "))).to.deep.equal(expected);
      releases.pop()!();
    }
    await done;
    expect(happened.filter((event) => event.endsWith("done"))).to.deep.equal(
      NAMES.map((name) => `${name} done`),
    );
    expect(clock.pending).to.equal(0);
  });

  const failures: Readonly<Record<string, () => Promise<void> | void>> = {
    rejects: () => Promise.reject(new Error("Connection is closed. password=secret")),
    throws: () => {
      throw new Error("Connection is closed. password=secret");
    },
    hangs: () => new Promise(() => {}),
  };
  for (const [how, fail] of Object.entries(failures)) {
    for (const name of NAMES) {
      it(`runs every other stage when ${name} ${how}, and tells that fault alone`, async () => {
        const runs = NAMES.map((stage) => (stage === name ? fail : fine));
        const done = runTeardown(stages(...runs), clock, STAGE_MS);
        await settle();
        if (how === "hangs") clock.advance(STAGE_MS);
        await done;
        const expected = NAMES.flatMap((stage) => [stage, `${stage} ${stage === name ? "failed" : "done"}`]);
        expect(happened).to.deep.equal(expected);
        expect(faults.map(({ code }) => code)).to.deep.equal([
          how === "hangs" ? "TIMEOUT" : "REDIS_UNAVAILABLE",
        ]);
        expect(faults[0]!.message).not.to.contain("secret");
        expect(clock.pending).to.equal(0);
      });
    }

    it(`tells each fault when every stage ${how}`, async () => {
      const done = runTeardown(stages(fail, fail, fail), clock, STAGE_MS);
      for (let stage = 0; stage < 3; stage++) {
        await settle();
        if (how === "hangs") clock.advance(STAGE_MS);
      }
      await done;
      expect(happened).to.deep.equal(NAMES.flatMap((name) => [name, `${name} failed`]));
    });
  }

  it("gives a stage that hangs its whole time, and no more", async () => {
    const done = runTeardown(stages(failures["hangs"]!, fine, fine), clock, STAGE_MS);
    await settle();
    clock.advance(STAGE_MS - 1);
    await settle();
    expect(happened).to.deep.equal(["unsubscribe"]);
    clock.advance(1);
    await done;
    expect(happened).to.contain("reset done");
  });

  it("ignores a stage that fails after its deadline", async () => {
    let fail!: (error: Error) => void;
    const late = (): Promise<void> => new Promise((_, reject) => (fail = reject));
    const done = runTeardown(stages(late, fine, fine), clock, STAGE_MS);
    await settle();
    clock.advance(STAGE_MS);
    await done;
    fail(new Error("too late"));
    await settle(); // the root hook fails this test when the rejection is left unhandled
    expect(faults).to.have.length(1);
  });

  it("needs no stage", async () => {
    await runTeardown([], clock, STAGE_MS);
    expect(clock.pending).to.equal(0);
  });

  function stages(...runs: readonly (() => Promise<void> | void)[]): readonly TeardownStage[] {
    return NAMES.map((name, index) => ({
      name,
      run: () => {
        happened.push(name);
        return runs[index]!();
      },
      onDone: () => happened.push(`${name} done`),
      onFault: (fault) => {
        faults.push(fault);
        happened.push(`${name} failed`);
      },
    }));
  }
});

function fine(): void {}
