import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";

/** URL of Redis. The runner sets it for every target. */
export const redisUrl: string = process.env["BENCH_REDIS_URL"] ?? "redis://127.0.0.1:6379";

/** Backlog for all connections that can arrive at once. If it is full, each connection takes one second longer. */
export const BACKLOG = 4096;

/** Requests of the runner to a target. */
export type Question = "cpu" | "memory" | "heap" | "watch-delay" | "delay" | "status";

export interface Asked {
  readonly id: number;
  readonly question: Question;
}

const delay = monitorEventLoopDelay({ resolution: 1 });
/** Time in which the timer of `delay` runs at least once if nothing blocks the event loop. */
const SOME_TURNS_MS = 20;

/** Listens on a free port, reports it to the runner, and answers requests until the runner exits. */
export function announce(server: Server, status: () => Promise<unknown> = async () => null): void {
  server.listen({ port: 0, host: "127.0.0.1", backlog: BACKLOG }, () =>
    announcePort((server.address() as AddressInfo).port, status),
  );
}

/** The same for a server that already listens. */
export function announcePort(port: number, status: () => Promise<unknown> = async () => null): void {
  process.on("message", ({ id, question }: Asked) => {
    void answer(question, status).then((value) => process.send?.({ id, value }));
  });
  process.on("disconnect", () => process.exit(0));
  process.send?.({ port });
}

async function answer(question: Question, status: () => Promise<unknown>): Promise<unknown> {
  switch (question) {
    case "cpu": {
      // Covers all threads, also ended ones. In microseconds, because /proc counts in ticks.
      const { user, system } = process.cpuUsage();
      return user + system;
    }
    case "memory":
      globalThis.gc?.();
      globalThis.gc?.();
      return process.memoryUsage.rss() / 1024;
    case "heap":
      return process.memoryUsage().heapUsed / 1024;
    case "watch-delay":
      delay.enable();
      delay.reset();
      // The first turn of the timer only sets the start. Without it, a block right after this would not count.
      await sleep(SOME_TURNS_MS);
      return null;
    case "delay":
      await sleep(SOME_TURNS_MS); // The delay counts when the timer runs after the block.
      delay.disable();
      return delay.max / 1e6;
    case "status":
      return status();
  }
}
