import { asObject, parse, stringAt } from "./json.js";

export type Connection =
  | { readonly state: "connecting" }
  | { readonly state: "live"; readonly sessionId: string }
  | { readonly state: "reconnecting"; readonly reason: string };

export interface StreamHandlers {
  /** The connection's state has changed. */
  readonly connection: (connection: Connection) => void;
  /** A session is open. Each reconnect is another session, which knows nothing of what the last was given. */
  readonly connected: (sessionId: string) => void;
  /** A message's data, parsed. */
  readonly message: (data: unknown) => void;
  /** Events of other names, by these, with their data, parsed. */
  readonly events: Readonly<Record<string, (data: unknown) => void>>;
  /** Something may have been missed while the session stayed open. */
  readonly gap: () => void;
  /** The server reports a fault of an open stream, which may go on. */
  readonly fault: (message: string) => void;
  /** The server has answered with something that is no stream; told once per outage of unknown reason, as EventSource hides the answer. */
  readonly refused: () => void;
}

const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 30_000;

/** Why a stream ends, in words for a person. */
const IN_WORDS: Readonly<Record<string, string>> = {
  "client-gone": "the page was closed",
  "peer-lost": "the browser could not be reached",
  "write-error": "the browser could not be reached",
  "subscribe-failed": "the server could not reach Redis",
  drain: "the server is restarting",
  shutdown: "the server is stopping",
  "redis-lost": "the server has lost Redis",
  "max-lifetime": "the stream was open long enough",
  "slow-consumer": "this page was too slow to follow",
};

export function readable(reason: string): string {
  return IN_WORDS[reason] ?? reason.replaceAll(/[_-]+/g, " ");
}

/**
 * The tab's only SSE connection. Over HTTP/1.1 a browser keeps at most six connections per host for all tabs together,
 * so whatever the page wants to hear of comes over this one.
 */
export function openStream(url: string, handlers: StreamHandlers): void {
  let source: EventSource | undefined;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let retryMs = FIRST_RETRY_MS;
  /** Why the server ends the stream: told before the connection drops, when the reason is no longer to be had. */
  let told: string | undefined;
  let live = false;

  function lost(why = "connection lost"): void {
    live = false;
    const reason = told ?? (navigator.onLine ? why : "this device is offline");
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
      told = undefined;
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
      told = readable(stringAt(asObject(parse(event.data)), "reason") ?? "closed by the server");
      lost();
    });

    current.addEventListener("error", (event: Event) => {
      // The server's own events named "error" have data; the transport's have none.
      if (event instanceof MessageEvent) {
        const fault = asObject(parse(event.data));
        const message = stringAt(fault, "message") ?? stringAt(fault, "code") ?? "unknown fault";
        // A stream that cannot begin ends at once, and is tried again.
        if (live) handlers.fault(message);
        else told = message;
        return;
      }
      // EventSource reconnects by itself after a drop, but gives up for good after an answer that is no stream.
      if (current.readyState !== EventSource.CLOSED) {
        lost();
      } else if (source === current) {
        lost("refused by the server");
        if (told === undefined && retryMs === FIRST_RETRY_MS) handlers.refused();
        retry = setTimeout(open, retryMs * (0.75 + Math.random() / 2));
        retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
      }
    });
  }

  // A page with an open connection cannot be kept for the back button; closing it here also ends the session at once.
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
