import http from "node:http";

import { EventReader, isEventBlock, type ReceivedEvent } from "./event-reader.js";
import { deferred } from "./eventually.js";

export { parseEvents, type ReceivedEvent } from "./event-reader.js";

/** One event stream over a socket of its own, read as it comes. */
export interface SseClient {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly events: readonly ReceivedEvent[];
  readonly comments: readonly string[];
  /** The last `retry:` that came, in milliseconds. */
  readonly retryMs: number | null;
  /** What a browser would send as `Last-Event-ID` now. */
  readonly lastEventId: string | undefined;
  /** The body as it came. */
  readonly text: string;
  /** Resolves with the first event, past or to come, that satisfies `wanted`; rejects when the stream ends before. */
  next(wanted: (event: ReceivedEvent) => boolean, timeoutMs?: number): Promise<ReceivedEvent>;
  /** Resolves when the stream is over, whoever ended it. */
  readonly ended: Promise<void>;
  /** Reads no more, until `resume()`. */
  pause(): void;
  resume(): void;
  /** Leaves, without a word. */
  destroy(): void;
}

export interface OpenOptions {
  readonly headers?: Record<string, string>;
  readonly method?: string;
  readonly body?: string;
}

/** Resolves with the response's head. */
export function openStream(
  url: string,
  { headers, method = "GET", body }: OpenOptions = {},
): Promise<SseClient> {
  return new Promise((resolve, reject) => {
    const request = http.request(url, {
      method,
      agent: false,
      headers: { Accept: "text/event-stream", ...headers },
    });
    request.once("error", reject);
    request.once("response", (response) => {
      request.off("error", reject);
      request.on("error", () => {}); // a stream that is cut is not a fault of the test
      resolve(readStream(request, response));
    });
    request.end(body);
  });
}

/** Reads a response that is there. */
export function readStream(request: http.ClientRequest, response: http.IncomingMessage): SseClient {
  const events: ReceivedEvent[] = [];
  const comments: string[] = [];
  const ended = deferred();
  const waiting = new Set<() => void>();
  let text = "";
  let retryMs: number | null = null;
  let over = false;
  const reader = new EventReader({
    onBlock: (block) => isEventBlock(block) && events.push(block),
    onComment: (comment) => comments.push(comment),
    onRetry: (value) => (retryMs = value),
  });
  const look = (): void => {
    for (const check of waiting) check();
  };
  response.setEncoding("utf8");
  response.on("data", (chunk: string) => {
    text += chunk;
    reader.feed(chunk);
    look();
  });
  response.on("error", () => {});
  response.on("close", () => {
    over = true;
    look();
    ended.resolve();
  });
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    events,
    comments,
    get retryMs() {
      return retryMs;
    },
    get lastEventId() {
      return reader.lastEventId;
    },
    get text() {
      return text;
    },
    ended: ended.promise,
    next(wanted, timeoutMs = 5_000) {
      return new Promise((resolve, reject) => {
        const timer = setTimeout(
          () => finish(() => reject(new Error(`no such event; got ${text.slice(-500)}`))),
          timeoutMs,
        );
        const finish = (how: () => void): void => {
          clearTimeout(timer);
          waiting.delete(check);
          how();
        };
        const check = (): void => {
          const found = events.find(wanted);
          if (found !== undefined) finish(() => resolve(found));
          else if (over) finish(() => reject(new Error(`the stream ended; got ${text.slice(-500)}`)));
        };
        waiting.add(check);
        check();
      });
    },
    pause: () => void response.pause(),
    resume: () => void response.resume(),
    destroy: () => void request.destroy(),
  };
}
