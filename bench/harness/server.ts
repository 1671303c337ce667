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
  /** What only some servers have; null for the others. */
  status(): Promise<unknown>;
  stop(): Promise<void>;
}

/** A server that is no Node process of ours is looked at from outside. */
export function outsideView(pids: readonly number[]): Pick<Server, "pids" | "cpuUs" | "memoryKb" | "status"> {
  const sum = (of: (pid: number) => number): number => pids.reduce((total, pid) => total + of(pid), 0);
  return {
    pids,
    cpuUs: async () => sum(cpuOf),
    memoryKb: async () => sum(memoryOf),
    status: async () => null,
  };
}
