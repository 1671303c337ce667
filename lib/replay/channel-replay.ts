import { isNext, type Position } from "../sse/event-id.js";
import { sizeOf, type InboundEvent } from "../events/inbound-event.js";
import type { Ending } from "../events/inbound-event.js";

/** How a track judges a live event. */
export type Verdict = "pass" | "drop" | "hole";

/**
 * The track of one channel in one session: the position of the session in the history. While the session is behind, live
 * events wait here, up to a limit. Events above the limit are dropped, and read from the history later.
 */
export class ChannelReplay {
  readonly channel: string;
  /** The position of the last delivered event; `null` until the start position is known. */
  position: Position | null = null;
  behind = true;
  /** Whether the replay has started. The number of events to replay is checked only at the start. */
  replaying = false;
  /** When the history seemed to have lost events, as `HistoryPort.now()`; `null` if it does not. */
  doubtedAt: number | null = null;
  /** The position to which the session went back after the history had lost events. */
  wentBackTo: Position | null = null;
  /** How the channel has ended. Set when its last event is delivered. */
  ended: Ending | null = null;
  /** The epoch of the earlier history, which had ended before the channel started again. */
  endedEpoch: string | null = null;
  #waiting: InboundEvent[] | null = null;
  #bytes = 0;
  #firstHeard: Position | null = null;

  constructor(channel: string) {
    this.channel = channel;
  }

  get waitingBytes(): number {
    return this.#bytes;
  }

  /** The position of the first live event since the channel was subscribed. */
  get firstHeard(): Position | null {
    return this.#firstHeard;
  }

  /** Judges a live event while the session is not behind. */
  judge({ position }: InboundEvent): Verdict {
    const current = this.position!;
    if (position === undefined) return "pass";
    if (current.epoch === "") return position.offset === 1 ? "pass" : "hole";
    if (position.epoch !== current.epoch) return "hole";
    if (position.offset <= current.offset) return "drop";
    return isNext(current, position) ? "pass" : "hole";
  }

  /** Called for an event after the end. The task was queued again, and has a new history. */
  reopen(): void {
    this.endedEpoch = this.position!.epoch;
    this.position = { epoch: "", offset: 0 };
    this.ended = null;
  }

  /** Notes that an event is delivered. */
  advance({ position, ending }: InboundEvent): void {
    if (position !== undefined) this.position = position;
    if (ending !== undefined) this.ended = ending;
  }

  /** Stores an event. If the stored events exceed `maxBytes`, calls `forgetLogged()`. */
  hold(event: InboundEvent, maxBytes: number): void {
    if (event.position !== undefined) this.#firstHeard ??= event.position;
    (this.#waiting ??= []).push(event);
    this.#bytes += sizeOf(event);
    if (this.#bytes > maxBytes) this.forgetLogged();
  }

  /** Removes and returns the next stored event. Returns `null` if earlier events are missing, or `undefined` without events. */
  next(): InboundEvent | null | undefined {
    const waiting = this.#waiting;
    for (;;) {
      const event = waiting?.[0];
      if (event === undefined) return undefined;
      const verdict = this.judge(event);
      if (verdict === "hole") return null;
      waiting!.shift();
      this.#bytes -= sizeOf(event);
      if (verdict === "pass") return event;
    }
  }

  /** Drops the stored events that are in the history. */
  forgetLogged(): void {
    const left = this.#waiting?.filter(({ position }) => position === undefined) ?? [];
    this.#waiting = left.length === 0 ? null : left;
    this.#bytes = left.reduce((sum, event) => sum + sizeOf(event), 0);
  }
}
