import type { PubSubSession } from "redis-sse";

import { BadRequest } from "./input.js";

/** The open streams of this process by their id, which only the page that opened one knows. */
export class LiveStreams {
  readonly #sessions = new Map<string, PubSubSession>();

  add(session: PubSubSession): void {
    this.#sessions.set(session.id, session);
    void session.closed.then(() => this.#sessions.delete(session.id));
  }

  get open(): readonly PubSubSession[] {
    return [...this.#sessions.values()];
  }

  /** Throws a 404 for an id that is not, or no longer, of an open stream. */
  get(id: string): PubSubSession {
    const session = this.#sessions.get(id);
    if (session === undefined)
      throw new BadRequest(404, "UNKNOWN_STREAM", "expected the id of an open stream");
    return session;
  }
}
