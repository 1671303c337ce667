import type { PubSubSession } from "redis-sse";

import { BadRequest } from "./input.js";

/** Open streams of this process, by session id. Only the page that opened a stream knows its id. */
export class LiveStreams {
  readonly #sessions = new Map<string, PubSubSession>();

  add(session: PubSubSession): void {
    this.#sessions.set(session.id, session);
    void session.closed.then(() => this.#sessions.delete(session.id));
  }

  get open(): readonly PubSubSession[] {
    return [...this.#sessions.values()];
  }

  /** Throws a 404 error if no open stream has this id. */
  get(id: string): PubSubSession {
    const session = this.#sessions.get(id);
    if (session === undefined) throw new BadRequest(404, "UNKNOWN_STREAM", "No open stream has this id.");
    return session;
  }
}
