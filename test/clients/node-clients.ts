import { EventSource } from "eventsource";
import EventSource2 from "eventsource-2";
import { createEventSource } from "eventsource-client";
import { EventSource as LaunchDarklyEventSource } from "launchdarkly-eventsource";

import {
  EVENT_TYPES,
  STANDARD,
  type ClientEvent,
  type ClientUnderTest,
  type Connection,
} from "./client-under-test.js";

interface EventSourceLike {
  readonly readyState: number;
  addEventListener(type: string, listener: (event: { readonly data?: string }) => void): void;
  close(): void;
}

/** `eventsource` 2 reconnects by itself, honors `retry:` and stops at 204. */
export const eventsource2: ClientUnderTest = {
  ...STANDARD,
  name: "eventsource 2",
  storesIdEarly: true,
  // It resets its line buffers when an event ends, but not when a connection ends.
  keepsHalfEvents: true,
  connect: (url) => follow(new EventSource2(url)),
};

/** `eventsource` 4 reconnects by itself, honors `retry:` and stops at 204. */
export const eventsource4: ClientUnderTest = {
  ...STANDARD,
  name: "eventsource 4",
  // Its parser reports an id only as part of an event.
  storesIdOfEmptyBlock: false,
  connect: (url) => follow(new EventSource(url)),
};

/**
 * `eventsource-client` reconnects by itself, honors `retry:` and stops at 204. It ignores every other status, and
 * reconnects. The `fetch` that its README lets you pass turns a final status into 204.
 */
export const eventsourceClient: ClientUnderTest = {
  ...STANDARD,
  name: "eventsource-client",
  // It has the same parser as `eventsource` 4.
  storesIdOfEmptyBlock: false,
  async connect(url) {
    const events: ClientEvent[] = [];
    const source = createEventSource({
      url,
      async fetch(url, init) {
        const response = await fetch(url, init as RequestInit);
        if (response.status < 400 || response.status >= 500) return response;
        await response.body?.cancel();
        return new Response(null, { status: 204 });
      },
      onMessage: ({ event = "message", data }) => events.push({ type: event, data }),
    });
    return {
      events,
      get closed() {
        return source.readyState === "closed";
      },
      close: async () => source.close(),
    };
  },
};

/** `launchdarkly-eventsource` reconnects by itself, honors `retry:` and stops at 204. */
export const launchDarkly: ClientUnderTest = {
  ...STANDARD,
  name: "launchdarkly-eventsource",
  connect: (url) => follow(new LaunchDarklyEventSource(url, { readTimeoutMillis: 45_000 })),
};

async function follow(source: EventSourceLike): Promise<Connection> {
  const events: ClientEvent[] = [];
  for (const type of EVENT_TYPES) {
    source.addEventListener(type, ({ data }) => {
      // An `error` without data is a transport error.
      if (data !== undefined) events.push({ type, data });
    });
  }
  return {
    events,
    get closed() {
      return source.readyState === EventSource.CLOSED;
    },
    close: async () => source.close(),
  };
}
