import { expect } from "chai";

import type { Target } from "../../../lib/rights/revocation.js";
import { RevokedTargets } from "../../../lib/rights/revoked-targets.js";

describe("RevokedTargets", () => {
  let revoked: RevokedTargets;

  beforeEach(() => {
    revoked = new RevokedTargets(3);
  });

  function add(time: number, value: string | null, kind: Target["kind"] = "key"): void {
    const call = { forMs: 0, at: time, call: "call", caller: "caller" };
    const revocation = value === null ? null : { target: { kind, value }, ...call };
    revoked.add({ id: `${time}-0`, revocation });
  }

  const isRevoked = (id: number, key = "other"): boolean => revoked.isRevokedAfter(id, [key], []);

  it("compares with the newest revocation of a key or a channel only", () => {
    add(10, "ann");
    add(20, "ann", "channel");
    expect(revoked.newest).to.equal(20);
    expect([9, 10].map((id) => isRevoked(id, "ann"))).to.deep.equal([true, false]);
    expect([19, 20].map((id) => revoked.isRevokedAfter(id, [], ["a", "ann"]))).to.deep.equal([true, false]);
    add(30, "ann", "session");
    add(40, null);
    expect(isRevoked(20, "ann")).to.equal(false);
    expect(revoked.newest).to.equal(40);
  });

  it("answers that everything was revoked if older entries may have been deleted", () => {
    for (const time of [10, 20]) add(time, "ann");
    expect(isRevoked(0)).to.equal(false);
    // From now on, Redis may have deleted the entries before the first one.
    add(30, null);
    expect([8, 9].map((id) => isRevoked(id))).to.deep.equal([true, false]);
  });

  it("answers that everything was revoked before a revocation that it has forgotten", () => {
    for (const time of [10, 20, 30]) add(time, `user${time}`);
    add(40, "user10");
    expect([8, 9].map((id) => isRevoked(id))).to.deep.equal([true, false]);
    add(50, "user50");
    expect([19, 20].map((id) => isRevoked(id))).to.deep.equal([true, false]);
    expect(isRevoked(30, "user10")).to.equal(true);
  });

  it("reports a ticket as revoked if its id is larger than the newest entry", () => {
    add(10, "ann");
    expect([10, 11].map((id) => isRevoked(id))).to.deep.equal([false, true]);
  });

  it("reports nothing as revoked without entries", () => {
    expect(revoked.newest).to.equal(0);
    expect([0, 10].map((id) => isRevoked(id, "ann"))).to.deep.equal([false, false]);
  });
});
