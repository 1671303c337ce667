import { expect } from "chai";

type Resources = Readonly<Record<string, number>>;

/** Counts the sockets and timers that keep this process alive, by kind. It shows leaks. */
export function countResources(): Resources {
  const counts: Record<string, number> = {};
  for (const kind of process.getActiveResourcesInfo()) {
    if (/TCP|Timeout/.test(kind)) counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return counts;
}

/** Lower counts are accepted, because resources of an earlier suite can have been released since. */
export function expectNoMoreResources(before: Resources, what = "resources"): void {
  for (const [kind, count] of Object.entries(countResources()))
    expect(count, `${what}: ${kind}`).to.be.at.most(before[kind] ?? 0);
}
