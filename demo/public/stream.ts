import { connect, type Status } from "/redis-sse/client/index.js";

import { asObject, stringAt } from "./json.js";

export type Connection =
  | { readonly state: "connecting" }
  | { readonly state: "live"; readonly sessionId: string }
  | { readonly state: "reconnecting"; readonly reason: string }
  | { readonly state: "stopped"; readonly reason: string };

export interface StreamHandlers {
  /** The connection state changed. */
  readonly connection: (connection: Connection) => void;
  /** A session is open. Each reconnect creates a new session, without the channels added to the last one. */
  readonly connected: (sessionId: string) => void;
  /** Parsed data of a `message` event. */
  readonly message: (data: unknown) => void;
  /** Handlers of other events, by event name. They get the parsed data. */
  readonly events: Readonly<Record<string, (data: unknown) => void>>;
  /** The session is still open, but events can be missing. */
  readonly gap: () => void;
  /** The server refused the stream, and the client does not try again. */
  readonly refused: () => void;
}

/** Descriptions of the reasons for the user. */
const IN_WORDS: Readonly<Record<string, string>> = {
  REDIS_UNAVAILABLE: "Redis is unavailable",
  TIMEOUT: "Redis does not answer",
  POOL_EXHAUSTED: "Redis has no free connection",
  LIMIT_SESSIONS: "too many open pages",
  LIMIT_SESSIONS_PER_KEY: "too many open pages of this user",
  CLOSED: "the server is stopping",
  drain: "the server is restarting",
  shutdown: "the server is stopping",
  "redis-lost": "Redis is unavailable",
  "max-lifetime": "the stream reached its maximum lifetime",
  offline: "this device is offline",
  network: "connection lost",
  ended: "connection lost",
  silent: "the server does not respond",
};

export function readable(reason: string): string {
  return IN_WORDS[reason] ?? reason.replaceAll(/[_-]+/g, " ").toLowerCase();
}

/**
 * Opens the only stream of this tab. Over HTTP/1.1, a browser opens at most six connections to a host for all tabs together.
 * Therefore all events of the page use this connection.
 */
export function openStream(url: string, handlers: StreamHandlers): void {
  handlers.connection({ state: "connecting" });
  const stream = connect(url);
  /** Why the last connection ended. Shown until the next one is open. */
  let lost: string | undefined;

  function show(status: Status): void {
    switch (status.state) {
      case "waiting":
        lost = readable(status.reason);
        return handlers.connection({ state: "reconnecting", reason: lost });
      case "connecting":
        return handlers.connection(
          lost === undefined ? { state: "connecting" } : { state: "reconnecting", reason: lost },
        );
      case "open":
        lost = "connection lost";
        // The event `connected` follows, with the id of the session.
        return;
      case "paused":
        return handlers.connection({ state: "reconnecting", reason: "the page is hidden" });
      case "closed":
        handlers.connection({ state: "stopped", reason: readable(status.reason) });
        return handlers.refused();
    }
  }

  stream.onStatus(show);
  stream.on("connected", (data) => {
    const sessionId = stringAt(asObject(data), "sessionId");
    if (sessionId === undefined) return;
    handlers.connection({ state: "live", sessionId });
    handlers.connected(sessionId);
  });
  stream.on("message", handlers.message);
  for (const [name, heard] of Object.entries(handlers.events)) stream.on(name, heard);
  stream.onGap(handlers.gap);
}
