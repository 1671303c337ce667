import { cpuOf, memoryOf } from "./proc.js";

/** A server under test that is running, and what it says of itself. */
export interface Server {
  readonly port: number;
  /** Its processes. */
  readonly pids: readonly number[];
  /** CPU that it has used, in microseconds. */
  cpuUs(): Promise<number>;
  /** Resident memory in KB, after a collection where it can be asked for one. */
  memoryKb(): Promise<number>;
  /** Used part of the JavaScript heap in KB. Ask right after `memoryKb`, which collects garbage. 0 if it is not Node. */
  heapKb(): Promise<number>;
  /** Starts to measure the event-loop delay. */
  watchDelay(): Promise<void>;
  /** Longest event-loop delay since `watchDelay`, in milliseconds. 0 if it is not Node. */
  longestDelayMs(): Promise<number>;
  /** What only some servers have; null for the others. */
  status(): Promise<unknown>;
  stop(): Promise<void>;
}

/** A server that is no Node process of ours is looked at from outside. */
export function outsideView(pids: readonly number[]): Omit<Server, "port" | "stop"> {
  const sum = (of: (pid: number) => number): number => pids.reduce((total, pid) => total + of(pid), 0);
  return {
    pids,
    cpuUs: async () => sum(cpuOf),
    memoryKb: async () => sum(memoryOf),
    heapKb: async () => 0,
    watchDelay: async () => {},
    longestDelayMs: async () => 0,
    status: async () => null,
  };
}
