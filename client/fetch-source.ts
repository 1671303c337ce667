import { StreamParser } from "./parser.js";
import type { Source, SourceEnd, SourceListener, SourceRequest } from "./source.js";

/** Options of the requests. */
export interface FetchOptions {
  /** Headers of each request. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /**
   * Whether the browser sends cookies: "omit", "same-origin" or "include".
   *
   * @defaultValue "same-origin"
   */
  readonly credentials?: "omit" | "same-origin" | "include" | undefined;
  /** Returns a bearer token. It is asked for each connection, and one more time if the server answers 401. */
  readonly token?: (() => string | Promise<string>) | undefined;
  /**
   * The function that sends the requests.
   *
   * @defaultValue the global `fetch`
   */
  readonly fetch?: typeof fetch | undefined;
}

/** Statuses below 500 after which another try can help: timeout, too early, too many requests. */
const TRY_AGAIN: ReadonlySet<number> = new Set([408, 425, 429]);

const NETWORK: SourceEnd = { reason: "network", isFinal: false };

/** Opens the stream of a URL with `fetch`. */
export function createFetchSource(url: string | URL, options: FetchOptions = {}): Source {
  return {
    name: String(url),
    async open(request, listener) {
      try {
        return await openOnce(url, options, request, listener);
      } catch {
        // `fetch` and the body fail for many reasons. The browser does not tell which.
        return NETWORK;
      }
    },
  };
}

async function openOnce(
  url: string | URL,
  options: FetchOptions,
  request: SourceRequest,
  listener: SourceListener,
): Promise<SourceEnd> {
  const { credentials = "same-origin", token, fetch = globalThis.fetch } = options;
  const headers: Record<string, string> = { ...options.headers, Accept: "text/event-stream" };
  if (token !== undefined) {
    try {
      headers["Authorization"] = `Bearer ${await token()}`;
    } catch {
      return { reason: "token", isFinal: false };
    }
  }
  if (request.lastEventId !== "") headers["Last-Event-ID"] = request.lastEventId;
  const { signal } = request;
  // The types of Node.js do not know `cache`.
  const init = { headers, credentials, cache: "no-store", signal };
  const response = await fetch(url, init);
  const refusal = refusalOf(response, token !== undefined && !request.isRefused);
  if (refusal === null) return read(response.body!, request, listener);
  await response.body?.cancel();
  return refusal;
}

async function read(
  body: ReadableStream<Uint8Array>,
  { lastEventId }: SourceRequest,
  listener: SourceListener,
): Promise<SourceEnd> {
  const parser = new StreamParser(listener, lastEventId);
  const decoder = new TextDecoder();
  const reader = body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return { reason: "ended", isFinal: false };
    listener.onActivity();
    parser.feed(decoder.decode(value, { stream: true }));
    await listener.ready();
  }
}

/** Returns `null` for an event stream. `hasFreshToken`: the token of this request was not refused before. */
function refusalOf(response: Response, hasFreshToken: boolean): SourceEnd | null {
  const { status, headers } = response;
  if (status === 204) return { reason: "completed", isFinal: true };
  if (status === 200) {
    const isStream = /^text\/event-stream\b/i.test(headers.get("Content-Type") ?? "");
    // The page of a captive portal, or of a proxy.
    return isStream ? null : { reason: "not-a-stream", isFinal: false };
  }
  if (status === 401) return { reason: "unauthorized", isFinal: !hasFreshToken };
  if (status === 403) return { reason: "forbidden", isFinal: true };
  const retryAfterMs = retryAfterOf(headers.get("Retry-After"));
  return {
    reason: `http-${status}`,
    isFinal: status < 500 && !TRY_AGAIN.has(status),
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  };
}

/** RFC 9110 10.2.3: a number of seconds, or a date. */
function retryAfterOf(value: string | null): number | undefined {
  if (value === null) return undefined;
  const ms = /^\d+$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}
