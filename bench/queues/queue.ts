/** What all tasks of the benchmark carry: a number, or when it was put in line. */
export interface Payload {
  readonly n: number;
}

/** A queue, as all libraries have it. */
export interface BenchQueue {
  /** Puts one task in line; resolves when the library says that it is. */
  add(payload: Payload): Promise<unknown>;
  /** All at once, where a library has a way for that. */
  addBulk?(payloads: readonly Payload[]): Promise<unknown>;
  /** Runs the handler for each task, so many at once. Resolves when it has begun to look for tasks. */
  work(concurrency: number, handler: (payload: Payload) => void): Promise<void>;
  /** No handler runs after that. */
  stop(): Promise<void>;
}

/** Each module of this folder that stands for a library exports one. */
export type OpenQueue = (url: string, name: string) => Promise<BenchQueue>;
