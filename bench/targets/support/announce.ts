import type { Server } from "node:http";
import type { AddressInfo } from "node:net";

/** URL of Redis. The runner sets it for every target. */
export const redisUrl: string = process.env["BENCH_REDIS_URL"] ?? "redis://127.0.0.1:6379";

/** Backlog for all connections that can arrive at once. If it is full, each connection takes one second longer. */
export const BACKLOG = 4096;

/** Requests of the runner to a target. */
export type Question = "cpu" | "memory" | "status";

export interface Asked {
  readonly id: number;
  readonly question: Question;
}

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
    case "status":
      return status();
  }
}
