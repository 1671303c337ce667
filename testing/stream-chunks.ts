import { optionError } from "../lib/adapter.js";
import { ConfigError, RedisSseError } from "../lib/index.js";

// Bound when this file is loaded, because a test can replace the global timers later.
const { setTimeout, clearTimeout } = globalThis;

/** A stream that a test can pass to `collect()`. */
export type StreamSource =
  string | URL | Response | ReadableStream<Uint8Array> | AsyncIterable<Uint8Array | string>;

/** The chunks of a stream, and a function to close it. */
export interface OpenedStream {
  /** `null` if the source has no status. */
  readonly status: number | null;
  readonly chunks: AsyncIterable<Uint8Array | string>;
  readonly cancel: () => void;
}

/** Checked by its members, because `instanceof` fails between the realms of jest. */
interface NodeStream extends AsyncIterable<Uint8Array | string> {
  readonly statusCode?: number;
  on?(event: "error", listener: () => void): unknown;
  destroy?(): unknown;
}

/**
 * Rejects with `ConfigError` if the source is invalid or already being read. Rejects with `NOT_RECEIVED` if a URL is not
 * answered within `timeoutMs`. Also rejects with errors of `fetch()`.
 */
export async function openSource(
  source: StreamSource,
  headers: Headers | undefined,
  timeoutMs: number,
): Promise<OpenedStream> {
  if (typeof source === "string" || source instanceof URL) {
    const leaving = new AbortController();
    const late = new RedisSseError("NOT_RECEIVED", `The server did not respond within ${timeoutMs} ms.`);
    const timer = setTimeout(() => leaving.abort(late), timeoutMs);
    // Without `close`, the idle connection would keep the test process alive for seconds.
    const all = new Headers({ Accept: "text/event-stream", Connection: "close" });
    headers?.forEach((value, name) => all.set(name, value));
    const init = { headers: all, signal: leaving.signal };
    const response = await fetch(source, init).finally(() => clearTimeout(timer));
    return { ...openResponse(response), cancel: () => leaving.abort() };
  }
  if (headers !== undefined) {
    throw new ConfigError(
      "headers and lastEventId need a URL as source. Send them in your own request, or pass a URL.",
    );
  }
  if (typeof source !== "object" || source === null) throw wrongSource(source);
  if ("status" in source && "body" in source) return openResponse(source);
  if ("getReader" in source) return openWebStream(source, null);
  if (Symbol.asyncIterator in source) return openNodeStream(source);
  throw wrongSource(source);
}

function openResponse({ status, body }: Response): OpenedStream {
  if (body === null) return { status, chunks: nothing(), cancel: () => {} };
  return openWebStream(body, status);
}

function openWebStream(body: ReadableStream<Uint8Array>, status: number | null): OpenedStream {
  if (body.locked)
    throw new ConfigError(
      "The body of this response is already being read. Pass a response with an unread body.",
    );
  const reader = body.getReader();
  return {
    status,
    chunks: readAll(() => reader.read()),
    cancel: () => void reader.cancel().catch(() => {}),
  };
}

function openNodeStream(source: NodeStream): OpenedStream {
  // A response emits `error` if its connection is lost. Without a listener, the process would crash.
  source.on?.("error", () => {});
  const iterator = source[Symbol.asyncIterator]();
  // While an iterator waits for data, `return()` may never resolve.
  let leave!: (end: IteratorReturnResult<undefined>) => void;
  const left = new Promise<IteratorReturnResult<undefined>>((resolve) => (leave = resolve));
  return {
    status: source.statusCode ?? null,
    chunks: { [Symbol.asyncIterator]: () => ({ next: () => Promise.race([iterator.next(), left]) }) },
    cancel: () => {
      source.destroy?.();
      iterator.return?.().catch(() => {});
      leave({ done: true, value: undefined });
    },
  };
}

async function* readAll(
  read: () => Promise<{ readonly done: boolean; readonly value?: Uint8Array | undefined }>,
): AsyncGenerator<Uint8Array> {
  for (let part = await read(); !part.done; part = await read()) yield part.value!;
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

function wrongSource(source: unknown): ConfigError {
  return optionError("a URL, a Response or a readable stream", source);
}
