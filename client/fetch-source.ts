import { StreamParser } from "./parser.js";
import type { Source, SourceEnd, SourceListener, SourceRequest } from "./source.js";

/** The address of a stream, or a function that returns it for each connection. */
export type StreamUrl = string | URL | ((request: CredentialRequest) => string | URL | Promise<string | URL>);

/** What the functions for a token or a URL get. */
export interface CredentialRequest {
  /** The server answered the last request with 401. Do not return the same token or ticket again. */
  readonly isRefused: boolean;
}

/** Options of the requests. */
export interface FetchOptions {
  /**
   * Headers of each request. The client itself sets `Accept`, `Last-Event-ID`, and with `token` also `Authorization`.
   *
   * @defaultValue none
   */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /**
   * Whether the browser sends cookies: "omit", "same-origin" or "include".
   *
   * @defaultValue "same-origin"
   */
  readonly credentials?: "omit" | "same-origin" | "include" | undefined;
  /**
   * Returns a bearer token. The client asks for it before each connection, and again at once if the server answers 401. If the
   * function fails or returns no string, the client waits with the reason "token", and asks again.
   *
   * @defaultValue none
   */
  readonly token?: ((request: CredentialRequest) => string | Promise<string>) | undefined;
  /**
   * The function that sends the requests.
   *
   * @defaultValue the global `fetch`
   */
  readonly fetch?: typeof fetch | undefined;
}

/** Statuses below 500 after which another try can help: timeout, too early, too many requests. */
const TRY_AGAIN: ReadonlySet<number> = new Set([408, 425, 429]);

/** Longest work on one chunk before other work of the page runs. */
const MAX_TURN_MS = 10;

/**
 * Opens the stream of a URL with `fetch`.
 *
 * Throws a `TypeError` if the URL or an option is invalid.
 */
export function createFetchSource(url: StreamUrl, options: FetchOptions = {}): Source {
  checkRequest(url, options);
  return {
    name: typeof url === "function" ? "" : String(url),
    async open(request, listener) {
      try {
        return await openOnce(url, options, request, listener);
      } catch (error) {
        // `fetch` and the body fail for many reasons. The browser does not tell which.
        return { ...tryAgain("network"), error };
      }
    },
  };
}

/** Without this check, `fetch` would fail at each try, as if the network were away. */
function checkRequest(url: StreamUrl, { headers, credentials, token, fetch }: FetchOptions): void {
  for (const [name, value] of Object.entries({ token, fetch })) {
    if (value !== undefined && typeof value !== "function")
      throw new TypeError(`connect(): ${name} must be a function.`);
  }
  if (typeof url !== "function" && !isAddress(url)) {
    throw new TypeError("connect(): the URL must be a string, a URL or a function.");
  }
  const init = { ...(headers && { headers }), ...(credentials && { credentials }) };
  let address: string;
  try {
    address = new Request(typeof url === "function" ? "http://localhost" : url, init).url;
  } catch (cause) {
    throw new TypeError(
      "connect(): the URL, headers or credentials are invalid. In Node.js, the URL must be absolute.",
      { cause },
    );
  }
  if (!/^https?:/.test(address)) throw new TypeError("connect(): the URL must be an HTTP URL.");
}

async function openOnce(
  url: StreamUrl,
  options: FetchOptions,
  request: SourceRequest,
  listener: SourceListener,
): Promise<SourceEnd> {
  const { credentials = "same-origin", token, fetch = globalThis.fetch } = options;
  const { lastEventId, isRefused, signal } = request;
  const headers = new Headers(options.headers);
  headers.set("Accept", "text/event-stream");
  if (lastEventId !== "") headers.set("Last-Event-ID", toByteString(lastEventId));
  let asked = "url";
  let address: string | URL;
  try {
    address = typeof url === "function" ? checkReturned(await url({ isRefused })) : url;
    asked = "token";
    if (token !== undefined) headers.set("Authorization", bearer(await token({ isRefused })));
  } catch (error) {
    return { ...tryAgain(asked), error };
  }
  // The types of Node.js do not know `cache`.
  const init = { headers, credentials, cache: "no-store" as const, signal };
  const response = await fetch(address, init);
  const canRenew = token !== undefined || typeof url === "function";
  const refusal = refusalOf(response, canRenew && !isRefused);
  if (refusal === null) return read(response.body!, request, listener);
  void response.body?.cancel().catch(() => {});
  return refusal;
}

/** Without this check, `fetch` would ask for "/undefined". */
function checkReturned(url: unknown): string | URL {
  if (isAddress(url)) return url;
  throw new TypeError(
    `The URL function returned ${url === null ? "null" : typeof url}. Return a string or a URL.`,
  );
}

function isAddress(url: unknown): url is string | URL {
  // `instanceof` would refuse a URL of another window.
  return typeof url === "string" || (typeof url === "object" && url !== null && "href" in url);
}

function bearer(token: unknown): string {
  if (typeof token !== "string" || token === "")
    throw new TypeError("token() must return a non-empty string.");
  return `Bearer ${token}`;
}

/** A header has bytes. The HTML standard sends an id as UTF-8. */
function toByteString(text: string): string {
  return String.fromCharCode(...new TextEncoder().encode(text));
}

async function read(
  body: ReadableStream<Uint8Array>,
  { lastEventId, signal }: SourceRequest,
  listener: SourceListener,
): Promise<SourceEnd> {
  const parser = new StreamParser((retryMs) => listener.onRetry(retryMs), lastEventId);
  const decoder = new TextDecoder();
  const reader = body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return tryAgain("ended");
    listener.onActivity();
    let turnStart = performance.now();
    for (const message of parser.feed(decoder.decode(value, { stream: true }))) {
      listener.onMessage(message);
      const waiting = listener.ready();
      if (waiting !== undefined) await waiting;
      if (performance.now() - turnStart > MAX_TURN_MS) {
        await nextTurn();
        listener.onActivity();
        turnStart = performance.now();
      }
      if (signal.aborted) break;
    }
    if (!parser.isTooLong && !signal.aborted) continue;
    void reader.cancel().catch(() => {});
    return tryAgain("too-long");
  }
}

/** Lets other work of the page run. Timers would be slow in hidden pages, so this sends a message. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    // The types of Node.js do not know `onmessage`.
    const onmessage = (): void => {
      port1.close();
      resolve();
    };
    Object.assign(port1, { onmessage });
    port2.postMessage(null);
  });
}

/** Returns `null` for an event stream. `canRenew`: the client can try at once with another token or ticket. */
function refusalOf(response: Response, canRenew: boolean): SourceEnd | null {
  const { status, headers } = response;
  if (status === 200) {
    const isStream = /^text\/event-stream\b/i.test(headers.get("Content-Type") ?? "");
    // The page of a captive portal, or of a proxy.
    return isStream ? null : tryAgain("not-a-stream");
  }
  if (status === 204) return { reason: "completed", isFinal: true };
  if (status === 401) return { reason: "unauthorized", isFinal: !canRenew };
  if (status === 403) return { reason: "forbidden", isFinal: true };
  const retryAfterMs = retryAfterOf(headers.get("Retry-After"));
  return {
    reason: `http-${status}`,
    isFinal: status < 500 && !TRY_AGAIN.has(status),
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  };
}

function tryAgain(reason: string): SourceEnd {
  return { reason, isFinal: false };
}

/** RFC 9110 10.2.3: a number of seconds, or a date. */
function retryAfterOf(value: string | null): number | undefined {
  if (value === null) return undefined;
  const ms = /^\d+$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}
