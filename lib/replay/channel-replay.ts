import { isNext, type Position } from "../sse/event-id.js";
import { sizeOf, type InboundEvent } from "../events/inbound-event.js";
import type { Ending } from "../events/inbound-event.js";

/** How a track judges a live event. */
export type Verdict = "pass" | "drop" | "hole";

/**
 * One channel of one session, with the session's place in the log. While the session is behind, live events wait here, up
 * to a limit. Events beyond the limit are read from the log later.
 */
export class ChannelReplay {
  readonly channel: string;
  /** The last event that was passed on; `null` until it is known where the session begins. */
  position: Position | null = null;
  behind = true;
  /** Whether the replay has started. The number of events to replay is checked only at the start. */
  replaying = false;
  /** When its log seemed to have lost events, as `HistoryPort.now()`; `null` if it does not. */
  doubtedAt: number | null = null;
  /** The place to which the session went back after its log had lost events. */
  wentBackTo: Position | null = null;
  /** How the channel has ended, once its last event was passed on. */
  ended: Ending | null = null;
  /** The epoch of the log that had ended when the channel began again. */
  endedEpoch: string | null = null;
  #waiting: InboundEvent[] = [];
  #bytes = 0;
  #firstHeard: Position | null = null;

  constructor(channel: string) {
    this.channel = channel;
  }

  get waitingBytes(): number {
    return this.#bytes;
  }

  /** The first event that came live since the channel was subscribed. */
  get firstHeard(): Position | null {
    return this.#firstHeard;
  }

  /** Judges an event that comes while the session is not behind. */
  judge({ position }: InboundEvent): Verdict {
    const current = this.position!;
    if (position === undefined) return "pass";
    if (current.epoch === "") return position.offset === 1 ? "pass" : "hole";
    if (position.epoch !== current.epoch) return "hole";
    if (position.offset <= current.offset) return "drop";
    return isNext(current, position) ? "pass" : "hole";
  }

  /** An event came after the end: the task was queued again, and has a new log. */
  reopen(): void {
    this.endedEpoch = this.position!.epoch;
    this.position = { epoch: "", offset: 0 };
    this.ended = null;
  }

  /** An event is passed on. */
  advance({ position, ending }: InboundEvent): void {
    if (position !== undefined) this.position = position;
    if (ending !== undefined) this.ended = ending;
  }

  /** Stores an event. If the events exceed `maxBytes`, drops all events that have a place in a log. */
  hold(event: InboundEvent, maxBytes: number): void {
    if (event.position !== undefined) this.#firstHeard ??= event.position;
    this.#waiting.push(event);
    this.#bytes += sizeOf(event);
    if (this.#bytes > maxBytes) this.forgetLogged();
  }

  /** Removes the next stored event, and returns it. `null`: events before it are missing. `undefined`: no event is stored. */
  next(): InboundEvent | null | undefined {
    for (;;) {
      const event = this.#waiting[0];
      if (event === undefined) return undefined;
      const verdict = this.judge(event);
      if (verdict === "hole") return null;
      this.#waiting.shift();
      this.#bytes -= sizeOf(event);
      if (verdict === "pass") return event;
    }
  }

  /** Drops the stored events that have a place in a log. */
  forgetLogged(): void {
    this.#waiting = this.#waiting.filter(({ position }) => position === undefined);
    this.#bytes = this.#waiting.reduce((sum, event) => sum + sizeOf(event), 0);
  }
}
