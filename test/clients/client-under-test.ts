import type { Express } from "express";

/** An event that a client dispatched to the application. Transport errors are not included. */
export interface ClientEvent {
  readonly type: string;
  readonly data: string;
}

export interface Connection {
  /** All events since `connect()`, across all reconnects. */
  readonly events: readonly ClientEvent[];
  /** Whether the client has stopped and does not reconnect. */
  readonly closed: boolean;
  close(): Promise<void>;
}

/** One SSE client, set up as `docs/browser-client.md` recommends, and its known deviations from the standard. */
export interface ClientUnderTest {
  readonly name: string;
  /** Whether it stores an id when the `id:` line arrives, instead of when the event is complete. */
  readonly storesIdEarly: boolean;
  /** Whether it stores the id of a block that has no data, at the latest with the next event. */
  readonly storesIdOfEmptyBlock: boolean;
  /** Whether it dispatches a block without data as an event with empty data. */
  readonly dispatchesEmptyBlocks: boolean;
  /** Whether it removes the line feeds at the beginning of an event's data. */
  readonly dropsLeadingLineFeeds: boolean;
  /** Whether data lines that arrived before a cut are prepended to the next event of the next connection. */
  readonly keepsHalfEvents: boolean;
  /** Adds what the client needs to the app that it connects to, for example its page. */
  mount?(app: Express): void;
  connect(url: string): Promise<Connection>;
}

/** The standard's behavior. A client states only where it deviates. */
export const STANDARD: Omit<ClientUnderTest, "name" | "connect"> = {
  storesIdEarly: false,
  storesIdOfEmptyBlock: true,
  dispatchesEmptyBlocks: false,
  dropsLeadingLineFeeds: false,
  keepsHalfEvents: false,
};

/** The event names of the suite. Most clients need one listener for each name. */
export const EVENT_TYPES: readonly string[] = [
  "message",
  "connected",
  "gap",
  "error",
  "closing",
  "update",
  "hidden",
];
