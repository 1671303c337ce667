import * as fc from "fast-check";

import { anyText } from "./written-text.js";

export interface CutMessage {
  readonly event?: string | undefined;
  readonly data: string;
}

/**
 * Effect of the stream's rules on an event. `filter` hides it. `transform` removes or changes it. A rule can also
 * throw.
 */
type Fate = "shown" | "hidden" | "removed" | "changed" | "failing";

export interface CutEvent {
  readonly message: CutMessage;
  readonly fate: Fate;
  /** `until` ends the stream after this event. */
  readonly isLast: boolean;
}

export type CutStep =
  | { readonly do: "publish"; readonly channel: string; readonly events: readonly CutEvent[] }
  | { readonly do: "complete"; readonly channel: string; readonly event: CutEvent | null }
  | { readonly do: "send"; readonly message: CutMessage }
  | { readonly do: "heartbeat" };

/** Steps without a pause between them. */
export type CutTurn = readonly CutStep[];

export interface CutSequence {
  readonly channels: readonly string[];
  readonly rules: { readonly filter: boolean; readonly transform: boolean; readonly until: boolean };
  readonly first: readonly CutMessage[];
  /** How the client opens its first stream. "id": with an id from an earlier stream. */
  readonly wish: "now" | "earliest" | "id";
  /** Steps before the client has an id. */
  readonly past: readonly CutTurn[];
  /** Steps between `past` and the stream that is cut. */
  readonly missed: readonly CutTurn[];
  /** Steps during the stream that is cut. */
  readonly live: readonly CutTurn[];
  readonly end: "open" | "drain" | "complete";
}

const data = fc.oneof(
  { weight: 1, arbitrary: fc.constantFrom("", "\n", "\r", "\r\n\r\n", " ", "id: 1", ":", "x\n\ndata: y") },
  { weight: 3, arbitrary: anyText.map((text) => text.slice(0, 30)) },
  { weight: 2, arbitrary: fc.json({ maxDepth: 1, stringUnit: "binary" }).map((text) => text.slice(0, 40)) },
);
const event = fc.constantFrom(undefined, undefined, "message", "note", "ü: €😀", " padded ", "id", "data");
const message: fc.Arbitrary<CutMessage> = fc.record({ event, data });
const fates: readonly Fate[] = [
  "shown",
  "shown",
  "shown",
  "hidden",
  "hidden",
  "removed",
  "changed",
  "failing",
];
const often = (tenths: number): fc.Arbitrary<boolean> => fc.nat(9).map((chance) => chance < tenths);
const cutEvent = fc.record({ message, fate: fc.constantFrom(...fates), isLast: often(1) });

const turns = (
  step: fc.Arbitrary<CutStep>,
  minLength: number,
  maxLength: number,
): fc.Arbitrary<readonly CutTurn[]> =>
  fc.array(fc.array(step, { minLength: 1, maxLength: 3 }), { minLength, maxLength, size: "max" });

/** A stream, with the events of its channels before and during it. Channels with the prefix "p" have no history. */
export const anyCutSequence: fc.Arbitrary<CutSequence> = fc
  .uniqueArray(fc.constantFrom("h0", "h1", "h2", "p0", "p1"), { minLength: 1, maxLength: 3, size: "max" })
  .chain((channels) => {
    const channel = fc.constantFrom(...channels);
    const publish = fc.record({
      do: fc.constant("publish" as const),
      channel,
      events: fc.array(cutEvent, { minLength: 1, maxLength: 3, size: "max" }),
    });
    const complete = fc.record({
      do: fc.constant("complete" as const),
      channel,
      // A last event without a type and without data is not sent.
      event: fc.option(cutEvent.filter(({ message: { data, event } }) => data !== "" || event !== undefined)),
    });
    const past = fc.oneof({ weight: 12, arbitrary: publish }, { weight: 1, arbitrary: complete });
    const live = fc.oneof(
      { weight: 24, arbitrary: publish },
      { weight: 1, arbitrary: complete },
      { weight: 3, arbitrary: fc.record({ do: fc.constant("send" as const), message }) },
      { weight: 3, arbitrary: fc.constant({ do: "heartbeat" as const }) },
    );
    return fc.record({
      channels: fc.constant(channels),
      rules: fc.record({ filter: often(4), transform: often(3), until: often(2) }),
      first: fc.oneof(fc.constant([]), fc.array(message, { maxLength: 2 })),
      wish: fc.constantFrom<CutSequence["wish"]>("now", "now", "earliest", "id", "id"),
      past: turns(past, 0, 2),
      missed: turns(past, 0, 3),
      live: turns(live, 1, 8),
      end: fc.constantFrom("open" as const, "drain" as const, "complete" as const),
    });
  });
