import { expect } from "chai";

type Resources = Readonly<Record<string, number>>;

/** Sockets and timers that keep this process awake, counted by kind: what nobody gave back shows here. */
export function countResources(): Resources {
  const counts: Record<string, number> = {};
  for (const kind of process.getActiveResourcesInfo()) {
    if (/TCP|Timeout/.test(kind)) counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return counts;
}

/** Fewer are well: what an earlier suite left may have gone meanwhile. */
export function expectNoMoreResources(before: Resources, what = "resources"): void {
  for (const [kind, count] of Object.entries(countResources()))
    expect(count, `${what}: ${kind}`).to.be.at.most(before[kind] ?? 0);
}
