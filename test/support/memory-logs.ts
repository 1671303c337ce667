import type { HistoryPort, LogPage, LogState } from "../../lib/replay/history-port.js";
import type { LoggedInboundEvent } from "../../lib/events/inbound-event.js";
import type { Position } from "../../lib/sse/event-id.js";
import { loggedEvent, type LoggedOptions } from "./inbound-events.js";
import { EMPTY, logState } from "./log-state.js";

/** Histories in memory. Reads resolve within a promise. */
export class MemoryLogs implements HistoryPort {
  readonly keeps: (channel: string) => boolean;
  readonly #logs = new Map<string, LoggedInboundEvent[]>();
  readonly #pages = new Map<string, LogPage>();
  /** Each read waits for this promise. */
  before: () => Promise<void> = () => Promise.resolve();
  reads = 0;

  constructor(keeps: (channel: string) => boolean) {
    this.keeps = keeps;
  }

  append(channel: string, options: LoggedOptions = {}): LoggedInboundEvent {
    return this.add(loggedEvent(channel, this.nextOffset(channel), options));
  }

  add(event: LoggedInboundEvent): LoggedInboundEvent {
    this.#logs.set(event.channel, [...this.#eventsOf(event.channel), event]);
    return event;
  }

  nextOffset(channel: string): number {
    return (this.#eventsOf(channel).at(-1)?.position.offset ?? 0) + 1;
  }

  /** Removes the oldest events of a channel. The newest must stay. */
  trim(channel: string, count: number): void {
    this.#logs.set(channel, this.#eventsOf(channel).slice(count));
  }

  now(): number {
    return this.reads;
  }

  memoryMs(): number {
    return Infinity;
  }

  beginsSilently(): boolean {
    return false;
  }

  forget(): void {
    this.#pages.clear();
  }

  peek(): Promise<null> {
    return Promise.resolve(null);
  }

  async read(channel: string, after: Position): Promise<LogPage> {
    const readAt = ++this.reads;
    await this.before();
    const events = this.#eventsOf(channel);
    const state = this.#stateOf(channel, readAt);
    const key = `${channel} ${after.epoch} ${after.offset} ${state.first} ${state.position.offset}`;
    // Pages are shared, as in the real reader. An empty page is always a new object.
    const known = this.#pages.get(key);
    if (known !== undefined) return known;
    const own = events.find(({ position }) => position.offset === after.offset);
    const page = {
      ...state,
      previousStamp: own?.position.stamp ?? 0,
      events: after.epoch === "" ? [] : events.filter(({ position }) => position.offset > after.offset),
    };
    if (page.events.length > 0) this.#pages.set(key, page);
    return page;
  }

  async tail(channel: string): Promise<LogState> {
    const readAt = ++this.reads;
    await this.before();
    return this.#stateOf(channel, readAt);
  }

  #eventsOf(channel: string): readonly LoggedInboundEvent[] {
    return this.#logs.get(channel) ?? [];
  }

  #stateOf(channel: string, readAt: number): LogState {
    const [first] = this.#eventsOf(channel);
    const last = this.#eventsOf(channel).at(-1);
    return logState(last?.position ?? EMPTY, {
      ending: last?.ending ?? null,
      first: first?.position.offset ?? 1,
      readAt,
    });
  }
}
