import { expect } from "chai";

import { planRound, type Round } from "../../chaos/fault-plan.js";
import { ArgumentError, readArguments } from "../../chaos/options.js";

function planMany(args: string, seed: number): readonly Round[] {
  const [options] = readArguments([...args.split(" "), "--seed", String(seed)]);
  return Array.from({ length: 200 }, (_, number) => planRound(options!, number, 60_000));
}

const kindsOf = (rounds: readonly Round[]): ReadonlySet<string> =>
  new Set(rounds.flatMap(({ faults }) => faults.map(({ kind }) => kind)));

describe("planRound() and readArguments()", () => {
  for (const [args, kinds] of [
    ["soak --mode shared", 16],
    ["chaos --topology single", 11],
    ["chaos --topology sentinel", 9],
    ["chaos --topology cluster", 11],
  ] as const) {
    it(`plan every kind of fault and depend only on the seed (${args})`, () => {
      expect(planMany(args, 7)).to.deep.equal(planMany(args, 7));
      expect(planMany(args, 7)).to.not.deep.equal(planMany(args, 8));
      expect(kindsOf(planMany(args, 42))).to.have.property("size", kinds);
    });
  }

  it("plan every kind of fault also in a short chaos run", () => {
    const [options] = readArguments(["--seconds", "8", "--seed", "1"]);
    expect(kindsOf([planRound(options!, 0, 8_000)])).to.have.property("size", 11);
  });

  it("end each fault of the soak test within its round", () => {
    for (const { lengthMs, faults } of planMany("soak --mode shared", 42))
      for (const { atMs, durationMs } of faults) expect(atMs + durationMs).to.be.at.most(lengthMs + 1);
  });

  for (const args of [
    "soak --seconds 2",
    "soak --seed -1",
    "soak --mode half",
    "soak --clients x",
    "soak --what",
    "soak --topology cluster",
    "soak x",
    "--topology ring",
    "--mode shared",
    "--publishers 3",
    "chaos --clients 2001",
  ]) {
    it(`reject the arguments "${args}"`, () => {
      const [last] = args.split(" ").filter((arg) => arg !== "soak" && arg !== "chaos");
      expect(() => readArguments(args.split(" "))).to.throw(ArgumentError, last);
    });
  }

  it("read the options of both commands", () => {
    const common = { topology: "single", seconds: 600, seed: 42, clients: 2_000 };
    const args = ["--seconds", "600", "--seed", "42", "--clients", "2000"];
    expect(readArguments(["soak", ...args])).to.deep.equal(
      ["shared", "dedicated"].map((mode) => ({ ...common, harness: "soak", mode, publishers: 6 })),
    );
    expect(readArguments(args)).to.deep.equal([
      { ...common, harness: "chaos", mode: "mixed", publishers: 20 },
    ]);
  });
});
