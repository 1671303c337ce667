import type { Options } from "../options.js";
import type { Row } from "../scenarios/experiment.js";
import type { Plan } from "../scenarios/plan.js";
import { ours, targets } from "../targets/catalog.js";
import type { Machine } from "./machine.js";

/** One experiment's table. */
export interface Section {
  readonly key: string;
  readonly rows: readonly Row[];
}

/** All that a run has found. */
export interface Report {
  readonly machine: Machine;
  readonly plan: Plan;
  readonly options: Options;
  readonly notes: readonly string[];
  readonly sections: readonly Section[];
}

/** The median of a figure; null where there is none: not measured, or void. */
export function medianOf(report: Report, key: string, name: string, figure: string): number | null {
  const section = report.sections.find((section) => section.key === key);
  return section?.rows.find((row) => row.name === name)?.figures?.[figure]?.median ?? null;
}

/** Of the other libraries and ways in Node, the one that does best in that. */
export function bestPeer(
  report: Report,
  key: string,
  figure: string,
): { label: string; value: number } | null {
  const section = report.sections.find((section) => section.key === key);
  const peers = (section?.rows ?? []).flatMap(({ name, label, figures }) => {
    const value = figures?.[figure]?.median;
    return isPeerInNode(name) && value !== undefined ? [{ label, value }] : [];
  });
  return peers.toSorted((one, other) => one.value - other.value)[0] ?? null;
}

function isPeerInNode(name: string): boolean {
  const target = targets.find((target) => target.name === name);
  if (target === undefined || target.isBound === true) return false;
  return "script" in target.runs && !name.startsWith(ours.name);
}

/** Whether it may be quoted: everything was measured, often enough. */
export function isFull({ options }: Report): boolean {
  return !options.quick && options.complete && options.rounds >= 3;
}
