/** Payload of all tasks in the benchmark: a number or the time of the enqueue call. */
export interface Payload {
  readonly n: number;
}

/** Common interface of all queue libraries. */
export interface BenchQueue {
  /** Enqueues one task. Resolves when the library confirms it. */
  add(payload: Payload): Promise<unknown>;
  /** Enqueues all tasks in one call, if the library can. */
  addBulk?(payloads: readonly Payload[]): Promise<unknown>;
  /** Runs the handler for each task, with this concurrency. Resolves when the worker has started. */
  work(concurrency: number, handler: (payload: Payload) => void): Promise<void>;
  /** Stops the worker. After that, no handler runs. */
  stop(): Promise<void>;
}

/** Each library module of this folder exports a function of this type. */
export type OpenQueue = (url: string, name: string) => Promise<BenchQueue>;
