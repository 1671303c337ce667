import { expect } from "chai";

import { NewStreamCheck } from "../../../lib/rights/new-stream-check.js";
import type {
  RevocationEntry,
  RevocationPage,
  RevocationStore,
} from "../../../lib/rights/revocation-store.js";
import { Revocations } from "../../../lib/rights/revocations.js";
import { settle } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";
import { recordingLog } from "../../support/recording-logger.js";

describe("Revocations, if Redis has lost the last known one", () => {
  const entry = (at: number, value: string): RevocationEntry => ({
    id: `${at}-0`,
    revocation: { target: { kind: "key", value }, at, forMs: 0, call: "call", caller: "other" },
  });

  it("compare tickets with the known revocations until all are read again", async () => {
    const clock = new FakeClock();
    const reads: ((page: RevocationPage) => void)[] = [];
    const store: Pick<RevocationStore, "name" | "read"> = {
      name: "sse:revocations",
      read: () => new Promise((resolve) => reads.push(resolve)),
    };
    const revocations = new Revocations({
      store: store as RevocationStore,
      subscribe: () => () => {},
      end: () => 0,
      instance: "own",
      rights: new NewStreamCheck(clock, 1_000),
      clock,
      log: recordingLog(clock).log,
    });
    const answer = async (entries: readonly RevocationEntry[], isFull = false): Promise<void> => {
      reads.shift()!({ entries, isFull, now: 100 });
      await settle(1);
    };
    const state = (): unknown => [
      revocations.newest,
      ...["ann", "bob"].map((key) => revocations.isRevokedAfter(4, [key], [])),
    ];

    const first = revocations.refresh();
    await answer([entry(10, "ann")]);
    await first;
    const second = revocations.refresh();
    await answer([entry(20, "bob")]);
    expect(state(), "before the first page").to.deep.equal([10, true, false]);
    await answer([entry(5, "eve")], true);
    expect(state(), "before the last page").to.deep.equal([10, true, false]);
    await answer([entry(5, "eve"), entry(20, "bob")]);
    await second;
    expect(state()).to.deep.equal([20, false, true]);
    revocations.close();
  });
});
