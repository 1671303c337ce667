import http from "node:http";

import { EventReader, isEventBlock, type ReceivedEvent } from "./event-reader.js";
import { deferred } from "./eventually.js";

export { parseEvents, type ReceivedEvent } from "./event-reader.js";

/** One event stream over a separate socket. */
export interface SseClient {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly events: readonly ReceivedEvent[];
  readonly comments: readonly string[];
  /** The last `retry:` value, in milliseconds. */
  readonly retryMs: number | null;
  /** The id that a browser would send as `Last-Event-ID`. */
  readonly lastEventId: string | undefined;
  /** The received body. */
  readonly text: string;
  /** Resolves with the first event, past or future, that satisfies `wanted`. Rejects if the stream ends before. */
  next(wanted: (event: ReceivedEvent) => boolean, timeoutMs?: number): Promise<ReceivedEvent>;
  /** Resolves when either side has ended the stream. */
  readonly ended: Promise<void>;
  /** Stops reading until `resume()`. */
  pause(): void;
  resume(): void;
  /** Destroys the socket. */
  destroy(): void;
}

export interface OpenOptions {
  readonly headers?: Record<string, string>;
  readonly method?: string;
  readonly body?: string;
}

/** Resolves with the response headers. */
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
      request.on("error", () => {}); // a lost connection is not an error of the test
      resolve(readStream(request, response));
    });
    request.end(body);
  });
}

/** Reads an existing response. */
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
