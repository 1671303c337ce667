import { asObject, parse, stringAt } from "./json.js";

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
  /** The server reports an error on an open stream. The stream can stay open. */
  readonly fault: (message: string) => void;
  /** The server answered without a stream, and EventSource hides the reason. Called once per outage. */
  readonly refused: () => void;
}

const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 30_000;

/** Descriptions of close reasons for the user. */
const IN_WORDS: Readonly<Record<string, string>> = {
  "client-gone": "the page was closed",
  "peer-lost": "the connection was lost",
  "write-error": "writing to the connection failed",
  "subscribe-failed": "subscribing in Redis failed",
  drain: "the server is restarting",
  shutdown: "the server is stopping",
  "redis-lost": "Redis is unavailable",
  "max-lifetime": "the stream reached its maximum lifetime",
  "slow-consumer": "the page received events too slowly",
};

export function readable(reason: string): string {
  return IN_WORDS[reason] ?? reason.replaceAll(/[_-]+/g, " ");
}

/**
 * Opens the only SSE connection of this tab. Over HTTP/1.1, a browser opens at most six connections to a host for all
 * tabs together. Therefore all events of the page use this connection.
 */
export function openStream(url: string, handlers: StreamHandlers): void {
  let source: EventSource | undefined;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let retryMs = FIRST_RETRY_MS;
  /** Close reason from the server. It arrives before the connection ends. */
  let serverReason: string | undefined;
  let live = false;

  function lost(why = "connection lost"): void {
    live = false;
    const reason = serverReason ?? (navigator.onLine ? why : "this device is offline");
    handlers.connection({ state: "reconnecting", reason });
  }

  function open(): void {
    clearTimeout(retry);
    const current = new EventSource(url);
    source = current;

    current.addEventListener("connected", (event) => {
      const sessionId = stringAt(asObject(parse(event.data)), "sessionId");
      if (sessionId === undefined) return;
      retryMs = FIRST_RETRY_MS;
      serverReason = undefined;
      live = true;
      handlers.connection({ state: "live", sessionId });
      handlers.connected(sessionId);
    });

    current.addEventListener("message", (event) => handlers.message(parse(event.data)));

    for (const [name, heard] of Object.entries(handlers.events)) {
      current.addEventListener(name, (event: MessageEvent<unknown>) => heard(parse(event.data)));
    }

    current.addEventListener("gap", () => handlers.gap());

    current.addEventListener("closing", (event: MessageEvent<unknown>) => {
      serverReason = readable(stringAt(asObject(parse(event.data)), "reason") ?? "closed by the server");
      lost();
    });

    current.addEventListener("error", (event: Event) => {
      // An `error` event from the server has data. An `error` event of the connection has none.
      if (event instanceof MessageEvent) {
        const fault = asObject(parse(event.data));
        const message = stringAt(fault, "message") ?? stringAt(fault, "code") ?? "unknown error";
        // Before `connected`, the error is the reason why the stream did not start. The page reconnects.
        if (live) handlers.fault(message);
        else serverReason = message;
        return;
      }
      // EventSource reconnects after a lost connection. After an HTTP error status it stops, so the page reconnects.
      if (current.readyState !== EventSource.CLOSED) {
        lost();
      } else if (source === current) {
        lost("rejected by the server");
        if (serverReason === undefined && retryMs === FIRST_RETRY_MS) handlers.refused();
        retry = setTimeout(open, retryMs * (0.75 + Math.random() / 2));
        retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
      }
    });
  }

  // Browsers cannot cache a page with an open connection for the back button. Closing also ends the session at once.
  addEventListener("pagehide", () => {
    clearTimeout(retry);
    source?.close();
    source = undefined;
  });
  addEventListener("pageshow", (event) => {
    if (event.persisted) {
      handlers.connection({ state: "connecting" });
      open();
    }
  });

  handlers.connection({ state: "connecting" });
  open();
}
