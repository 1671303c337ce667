import { optionError } from "../lib/adapter.js";
import { ConfigError, RedisSseError } from "../lib/index.js";

// Bound when this file is loaded: a test may replace the global timers later.
const { setTimeout, clearTimeout } = globalThis;

/** A stream that a test has in hand, as `collect()` takes it. */
export type StreamSource =
  string | URL | Response | ReadableStream<Uint8Array> | AsyncIterable<Uint8Array | string>;

/** The parts of a stream, and how to leave it. */
export interface OpenedStream {
  /** `null` if the source does not say it. */
  readonly status: number | null;
  readonly chunks: AsyncIterable<Uint8Array | string>;
  readonly cancel: () => void;
}

/** The common members: `instanceof` fails across the realms of jest. */
interface NodeStream extends AsyncIterable<Uint8Array | string> {
  readonly statusCode?: number;
  on?(event: "error", listener: () => void): unknown;
  destroy?(): unknown;
}

/**
 * Rejects with `ConfigError` for an invalid source, or one that is being read already; with `NOT_RECEIVED` if a URL is not
 * answered within `timeoutMs`; and with what `fetch()` rejects with.
 */
export async function openSource(
  source: StreamSource,
  headers: Headers | undefined,
  timeoutMs: number,
): Promise<OpenedStream> {
  if (typeof source === "string" || source instanceof URL) {
    const leaving = new AbortController();
    const late = new RedisSseError("NOT_RECEIVED", `No response within ${timeoutMs} ms.`);
    const timer = setTimeout(() => leaving.abort(late), timeoutMs);
    // Without `close`, the connection would stay open for seconds after the stream, and keep the test process alive.
    const all = new Headers({ Accept: "text/event-stream", Connection: "close" });
    headers?.forEach((value, name) => all.set(name, value));
    const init = { headers: all, signal: leaving.signal };
    const response = await fetch(source, init).finally(() => clearTimeout(timer));
    return { ...openResponse(response), cancel: () => leaving.abort() };
  }
  if (headers !== undefined) {
    throw new ConfigError("headers and lastEventId need a URL: this response was requested without them.");
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
  if (body.locked) throw new ConfigError("The body of this response is being read already.");
  const reader = body.getReader();
  return {
    status,
    chunks: readAll(() => reader.read()),
    cancel: () => void reader.cancel().catch(() => {}),
  };
}

function openNodeStream(source: NodeStream): OpenedStream {
  // A response that is cut emits `error`. Without a listener, the process would end.
  source.on?.("error", () => {});
  const iterator = source[Symbol.asyncIterator]();
  // An iterator that waits may never answer `return()`.
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
