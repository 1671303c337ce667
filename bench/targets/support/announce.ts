import type { Server } from "node:http";
import type { AddressInfo } from "node:net";

/** Where Redis is. The runner starts every target with it. */
export const redisUrl: string = process.env["BENCH_REDIS_URL"] ?? "redis://127.0.0.1:6379";

/** Room for all connections that may come at once: a full queue would cost them a second each. */
export const BACKLOG = 4096;

/** What the runner may ask a target, beside what it sees from outside. */
export type Question = "cpu" | "memory" | "status";

export interface Asked {
  readonly id: number;
  readonly question: Question;
}

/** Listens on a free port, tells the runner, and answers its questions until it is gone. */
export function announce(server: Server, status: () => Promise<unknown> = async () => null): void {
  server.listen({ port: 0, host: "127.0.0.1", backlog: BACKLOG }, () =>
    announcePort((server.address() as AddressInfo).port, status),
  );
}

/** The same for a server that listens already. */
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
      // Of all threads, those that have ended included; and in microseconds, where /proc has ticks.
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
