import type { StreamConnection } from "../client/index.js";
import { planRender } from "./plan-render.js";

/** Changes the state. It has no effect without an open stream. */
export type Update<State> = (change: (state: State) => State) => void;

/** Opens a stream and connects its events to the state. `previous` is the stream before, which is closed. */
export type Open<State> = (update: Update<State>, previous: StreamConnection | null) => StreamConnection;

/** The state that a hook makes of a stream, for `useSyncExternalStore()`. The stream is open while a component listens. */
export class StreamStore<State> {
  readonly #open: Open<State> | null;
  readonly #initial: State;
  readonly #listeners = new Set<() => void>();
  #state: State;
  /** The state that components render. It follows `#state` once in each frame. */
  #rendered: State;
  #cancelRender: (() => void) | null = null;
  #isOpen = false;
  #connection: StreamConnection | null = null;

  /** Without `open`, the state does not change. */
  constructor(initial: State, open: Open<State> | null) {
    this.#initial = this.#state = this.#rendered = initial;
    this.#open = open;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    // In StrictMode, React subscribes, unsubscribes and subscribes again. Only the last one needs a connection.
    queueMicrotask(() => !this.#isOpen && this.#listeners.size > 0 && this.#start());
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#stop();
    };
  };

  readonly getSnapshot = (): State => this.#rendered;

  readonly getServerSnapshot = (): State => this.#initial;

  readonly update: Update<State> = (change) => {
    if (!this.#isOpen) return;
    const state = change(this.#state);
    if (state === this.#state) return;
    this.#state = state;
    this.#cancelRender ??= planRender(() => this.#render());
  };

  /** Opens the stream again. */
  restart(): void {
    this.#stop();
    this.#start();
  }

  #start(): void {
    if (this.#open === null) return;
    this.#isOpen = true;
    this.#connection = this.#open(this.update, this.#connection);
  }

  #stop(): void {
    this.#isOpen = false;
    this.#cancelRender?.();
    this.#cancelRender = null;
    this.#connection?.close();
  }

  #render(): void {
    this.#cancelRender = null;
    this.#rendered = this.#state;
    for (const listener of this.#listeners) listener();
  }
}
