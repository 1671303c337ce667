import { useInsertionEffect, useRef } from "react";

import type { ConnectOptions, Source, Status } from "../client/index.js";

/** Options of a hook that shows a stream from its first event. */
export type StreamFollowOptions = Pick<
  ConnectOptions,
  "headers" | "credentials" | "token" | "fetch" | "pauseHiddenAfterMs" | "maxRetryMs"
>;

/** The newest value of a variable, for functions that outlive a render. */
export interface Latest<Value> {
  readonly current: Value;
}

export const CONNECTING: Status = { state: "connecting" };

/** The status of a hook whose URL is `null`. */
export const WITHOUT_URL: Status = { state: "closed", reason: "no-url" };

export function useLatest<Value>(value: Value): Latest<Value> {
  const latest = useRef(value);
  useInsertionEffect(() => {
    latest.current = value;
  });
  return latest;
}

/** The same value for URLs that open the same stream. */
export function targetOf(url: string | URL | Source | null): string | Source | null {
  return url instanceof URL ? url.href : url;
}

/** The same text for options that need no other connection. Functions and `events` are read when they are needed. */
export function identityOf(options: ConnectOptions): string {
  const { headers, credentials, keepId, pauseHiddenAfterMs, maxRetryMs } = options;
  return JSON.stringify([headers, credentials, keepId, pauseHiddenAfterMs, maxRetryMs]);
}

/** Options for `connect()` that read the newest functions. */
export function connectOptionsOf(latest: Latest<ConnectOptions>): ConnectOptions {
  const { headers, credentials, keepId, pauseHiddenAfterMs, maxRetryMs } = latest.current;
  return {
    headers,
    credentials,
    keepId,
    pauseHiddenAfterMs,
    maxRetryMs,
    get events() {
      return latest.current.events;
    },
    get token() {
      return latest.current.token;
    },
    get fetch() {
      return latest.current.fetch;
    },
  };
}
