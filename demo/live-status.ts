import { setTimeout as pause } from "node:timers/promises";

import type { PubSubSession, QueueService } from "redis-sse";

import type { LiveStreams } from "./live-streams.js";

const EVERY_MS = 500;

/**
 * Sends changes of the Redis status and of the task counts to all open pages. One query serves all pages of this
 * process. If no page is open, there are no queries.
 */
export class LiveStatus {
  readonly #queue: QueueService;
  readonly #streams: LiveStreams;
  /** Latest data by event name. */
  readonly #latest = new Map<string, string>();
  #polling = false;

  constructor(queue: QueueService, streams: LiveStreams) {
    this.#queue = queue;
    this.#streams = streams;
  }

  /** Sends the latest status to a new page. Before the first query, nothing is sent. */
  opened(session: PubSubSession): void {
    for (const [event, data] of this.#latest) session.send({ event, data });
    if (!this.#polling) void this.#poll();
  }

  async #poll(): Promise<void> {
    this.#polling = true;
    while (this.#streams.open.length > 0) {
      const counts = await this.#queue.counts().catch(() => null);
      this.#send("redis", { connected: counts !== null });
      if (counts !== null) this.#send("queue", counts);
      await pause(EVERY_MS, undefined, { ref: false });
    }
    this.#latest.clear();
    this.#polling = false;
  }

  #send(event: string, status: object): void {
    const data = JSON.stringify(status);
    if (this.#latest.get(event) === data) return;
    this.#latest.set(event, data);
    for (const session of this.#streams.open) session.send({ event, data });
  }
}
