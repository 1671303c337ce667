import { setTimeout as pause } from "node:timers/promises";

import type { PubSubSession, QueueService } from "redis-sse";

import type { LiveStreams } from "./live-streams.js";

const EVERY_MS = 500;

/**
 * Tells the open pages whether Redis answers, and the counts of the queue when they change. Redis is asked once for
 * all pages of this process, and not at all if no page is open.
 */
export class LiveStatus {
  readonly #queue: QueueService;
  readonly #streams: LiveStreams;
  /** The latest data of each event. */
  readonly #told = new Map<string, string>();
  #looking = false;

  constructor(queue: QueueService, streams: LiveStreams) {
    this.#queue = queue;
    this.#streams = streams;
  }

  /** A new page gets the latest status at once, or with the first answer of Redis. */
  opened(session: PubSubSession): void {
    for (const [event, data] of this.#told) session.send({ event, data });
    if (!this.#looking) void this.#look();
  }

  async #look(): Promise<void> {
    this.#looking = true;
    while (this.#streams.open.length > 0) {
      const counts = await this.#queue.counts().catch(() => null);
      this.#tell("redis", { connected: counts !== null });
      if (counts !== null) this.#tell("queue", counts);
      await pause(EVERY_MS, undefined, { ref: false });
    }
    this.#told.clear();
    this.#looking = false;
  }

  #tell(event: string, status: object): void {
    const data = JSON.stringify(status);
    if (this.#told.get(event) === data) return;
    this.#told.set(event, data);
    for (const session of this.#streams.open) session.send({ event, data });
  }
}
