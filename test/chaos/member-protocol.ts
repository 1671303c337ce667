import type { ServiceOptions } from "./channels.js";

/** How a publisher goes about it. */
export type PublisherStyle =
  /** One event after the other, each when the one before is settled. */
  | "sequential"
  /** Several at once, on one channel or two, without waiting for any. */
  | "bursts"
  /** More at once than a tiny history keeps. */
  | "loud";

export interface PublisherPlan {
  readonly id: number;
  readonly style: PublisherStyle;
  readonly everyMs: number;
}

/** What a process of the cluster is. */
export interface MemberPlan {
  readonly service: ServiceOptions;
  /** Whether it serves streams, or publishes only. */
  readonly serves: boolean;
  readonly publishers: readonly PublisherPlan[];
  readonly seed: number;
}

/** One attempt to publish, once it is settled. Times are `machineNow()`. */
export interface Settled {
  readonly channel: string;
  readonly publisher: number;
  readonly number: number;
  readonly issuedAt: number;
  readonly settledAt: number;
  /** What `publish()` answered; `undefined` where it rejected. */
  readonly id: string | null | undefined;
  /** Why it rejected. */
  readonly fault?: string;
}

/** Parent to child. */
export interface MemberOrder {
  readonly order: "be-quiet" | "tell-status";
}

/** Child to parent. */
export type MemberMessage =
  | { readonly type: "ready"; readonly port: number }
  | { readonly type: "settled"; readonly settled: Settled }
  /** Nothing is published any more, and all that was is settled. */
  | { readonly type: "quiet" }
  /** What its service says of itself, for a report. */
  | { readonly type: "status"; readonly status: unknown }
  /** What must never happen in a process: a warning, or an error that nobody caught. */
  | { readonly type: "trouble"; readonly trouble: string };
