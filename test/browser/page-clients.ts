/** Runs in the page: starts a client, and reports to the test what it dispatches. */

import { EventStreamContentType, fetchEventSource } from "@microsoft/fetch-event-source";
import { SSE } from "sse.js";

import { EVENT_TYPES, type ClientEvent } from "../clients/client-under-test.js";

export type PageClient = "EventSource" | "fetch-event-source" | "sse.js";

declare global {
  interface Window {
    reportEvent(event: ClientEvent): Promise<void>;
    reportClosed(): Promise<void>;
    startClient(client: PageClient, url: string): void;
    stopClient(): void;
  }
}

window.startClient = (client, url) => {
  window.stopClient = CLIENTS[client](url);
};

const CLIENTS: Readonly<Record<PageClient, (url: string) => () => void>> = {
  EventSource: startEventSource,
  "fetch-event-source": startFetchEventSource,
  "sse.js": startSse,
};

/** It reconnects by itself, honors `retry:` and stops at 204. */
function startEventSource(url: string): () => void {
  const source = new EventSource(url);
  for (const type of EVENT_TYPES) {
    source.addEventListener(type, (event) => {
      // An `error` that is not a message is an error of the transport.
      if (event instanceof MessageEvent) report(event.type, event.data as string);
      else if (source.readyState === EventSource.CLOSED) void window.reportClosed();
    });
  }
  return () => source.close();
}

class FinalAnswer extends Error {}

/**
 * It reconnects by itself after an error, and honors `retry:`. Its README recommends throwing in `onclose` for a
 * reconnect after the end of a stream, and throwing a special error in `onopen` and `onerror` for a final answer.
 * Here 204 is such an answer, and the content type may have parameters.
 */
function startFetchEventSource(url: string): () => void {
  const stop = new AbortController();
  const done = fetchEventSource(url, {
    signal: stop.signal,
    openWhenHidden: true,
    async onopen(response) {
      const { status, headers } = response;
      if (status === 204 || (status >= 400 && status < 500)) throw new FinalAnswer(`status ${status}`);
      if (!headers.get("content-type")?.startsWith(EventStreamContentType))
        throw new Error(`status ${status}`);
    },
    onmessage: ({ event, data }) => report(event || "message", data),
    onclose() {
      throw new Error("the server ended the stream");
    },
    onerror(error) {
      if (error instanceof FinalAnswer) throw error;
    },
  });
  done.catch(() => window.reportClosed()).catch(() => {});
  return () => stop.abort();
}

/**
 * It reconnects only with `autoReconnect`, after every status, and honors `retry:`. Its README recommends setting
 * `autoReconnect` to false to stop it. Here 204 and a client error are final answers.
 */
function startSse(url: string): () => void {
  const source = new SSE(url, { autoReconnect: true, start: false });
  for (const type of EVENT_TYPES) {
    source.addEventListener(type, (event: Event & { data?: string; responseCode?: number }) => {
      // An `error` with a status is an error of the transport.
      if (event.responseCode === undefined) report(event.type, event.data ?? "");
    });
  }
  source.addEventListener("open", ({ responseCode = 0 }: Event & { responseCode?: number }) => {
    if (responseCode === 204 || (responseCode >= 400 && responseCode < 500)) source.autoReconnect = false;
  });
  source.addEventListener("readystatechange", () => {
    if (source.readyState === SSE.CLOSED && !source.autoReconnect) void window.reportClosed();
  });
  source.stream();
  return () => source.close();
}

function report(type: string, data: string): void {
  void window.reportEvent({ type, data });
}
