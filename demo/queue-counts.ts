import { setTimeout as pause } from "node:timers/promises";

import type { PubSubSession, QueueService } from "redis-sse";

import type { LiveStreams } from "./live-streams.js";

const EVERY_MS = 500;

/**
 * Sends the queue's counts to the open pages when they have changed. However many look, Redis is asked once for all of
 * this process' pages; when none looks, not at all.
 */
export class QueueCounts {
  readonly #queue: QueueService;
  readonly #streams: LiveStreams;
  #told = "";
  #looking = false;

  constructor(queue: QueueService, streams: LiveStreams) {
    this.#queue = queue;
    this.#streams = streams;
  }

  /** A page that has just come gets them as they were last, or with the next look. */
  opened(session: PubSubSession): void {
    if (this.#looking) session.send({ event: "queue", data: this.#told });
    else void this.#look();
  }

  async #look(): Promise<void> {
    this.#looking = true;
    this.#told = "";
    while (this.#streams.open.length > 0) {
      const now = await this.#queue.counts().then(JSON.stringify, () => this.#told);
      if (now !== this.#told) {
        this.#told = now;
        for (const session of this.#streams.open) session.send({ event: "queue", data: now });
      }
      await pause(EVERY_MS, undefined, { ref: false });
    }
    this.#looking = false;
  }
}
