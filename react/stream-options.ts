import { useInsertionEffect, useMemo, useRef } from "react";

import type { ConnectOptions, CredentialRequest, Source, Status, StreamUrl } from "../client/index.js";

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

/** The address of a stream. Equal targets need no other connection. */
export type StreamTarget = string | UrlFunction | Source;

type UrlFunction = Extract<StreamUrl, (request: CredentialRequest) => unknown>;

/** The target of a URL. All functions of a component have the same target, so an inline function does not open the stream again. */
export function useTarget(url: StreamUrl | Source | null): StreamTarget | null {
  const latest = useLatest(url);
  const callLatest = useMemo(() => latestFunctionOf(latest), [latest]);
  if (typeof url === "function") return callLatest;
  return url instanceof URL ? url.href : url;
}

/** A function that calls the newest function. */
export function latestFunctionOf(latest: Latest<StreamUrl | Source | null>): UrlFunction {
  return (request) => {
    const url = latest.current;
    if (typeof url === "function") return url(request);
    // React has rendered another URL, and closes this connection next.
    throw new Error("The hook no longer uses a URL function.");
  };
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
