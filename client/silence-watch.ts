import { MAX_TIMER_MS } from "./backoff.js";

/** Until the server sends the first event. Its resolver may take 10 s, and Redis 5 s. */
const OPENING_MS = 20_000;
/** A connection that is silent for so many heartbeats is dead. */
const SILENT_HEARTBEATS = 2.5;
/** After a sleep, it is dead after so many. */
const WAKING_HEARTBEATS = 1.1;

/** Finds a connection on which nothing arrives, although the server sends heartbeats. */
export class SilenceWatch {
  readonly #onSilent: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When something last arrived, as `Date.now()`, which counts the time of a sleep too. */
  #heardAt = 0;
  /** The interval of heartbeats; `null` if the server sends none. */
  #heartbeatMs: number | null = null;
  #limitMs = OPENING_MS;

  constructor(onSilent: () => void) {
    this.#onSilent = onSilent;
  }

  /** Waits for the first event of a new connection. */
  start(): void {
    this.#heartbeatMs = null;
    this.#limitMs = OPENING_MS;
    this.resume();
  }

  /** The first event has arrived. Any other value than a positive number stands for a server without heartbeats. */
  open(heartbeatMs: unknown): void {
    this.#heartbeatMs = typeof heartbeatMs === "number" && heartbeatMs > 0 ? heartbeatMs : null;
    this.#limitMs = (this.#heartbeatMs ?? Infinity) * SILENT_HEARTBEATS;
    this.resume();
  }

  heard(): void {
    this.#heardAt = Date.now();
  }

  /** Counts the silence from now on. */
  resume(): void {
    this.heard();
    this.#check();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  /** Whether a heartbeat is missing on an open connection. */
  get isLate(): boolean {
    return this.#heartbeatMs !== null && Date.now() - this.#heardAt > this.#heartbeatMs * WAKING_HEARTBEATS;
  }

  #check(): void {
    this.stop();
    const now = Date.now();
    // The clock may have been set back.
    this.#heardAt = Math.min(this.#heardAt, now);
    const restMs = this.#heardAt + this.#limitMs - now;
    if (restMs <= 0) this.#onSilent();
    else if (restMs !== Infinity) {
      this.#timer = setTimeout(() => this.#check(), Math.min(restMs, MAX_TIMER_MS));
    }
  }
}
