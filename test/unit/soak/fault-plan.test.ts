import { expect } from "chai";

import { planRound, type Round } from "../../soak/fault-plan.js";
import { ArgumentError, readArguments } from "../../soak/options.js";

function planMany(seed: number): readonly Round[] {
  return Array.from({ length: 200 }, (_, number) => planRound(seed, number, 60_000));
}

describe("the soak's plan", () => {
  it("follows from its seed alone", () => {
    expect(planMany(7)).to.deep.equal(planMany(7));
    expect(planMany(7)).to.not.deep.equal(planMany(8));
  });

  it("has every kind of fault, and undoes each within its round", () => {
    const rounds = planMany(42);
    const kinds = new Set(rounds.flatMap(({ faults }) => faults.map(({ kind }) => kind)));
    expect(kinds).to.have.property("size", 15);
    for (const { lengthMs, faults } of rounds)
      for (const { atMs, durationMs } of faults) expect(atMs + durationMs).to.be.at.most(lengthMs + 1);
  });

  it("says which argument cannot be used", () => {
    for (const args of [
      ["--seconds", "2"],
      ["--seed", "-1"],
      ["--mode", "half"],
      ["--clients", "x"],
      ["--what"],
      ["x"],
    ])
      expect(() => readArguments(args), args.join(" ")).to.throw(ArgumentError, args[0]);
    const runs = readArguments(["--seconds", "600", "--seed", "42", "--clients", "2000"]);
    expect(runs).to.deep.equal(
      ["shared", "dedicated"].map((mode) => ({ mode, seconds: 600, seed: 42, clients: 2_000 })),
    );
  });
});
