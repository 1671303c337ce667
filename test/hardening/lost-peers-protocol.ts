import type { RegistryStatistics } from "../../lib/index.js";
import type { ReceivedEvent } from "../support/sse-client.js";

/** The IPC messages between lost-peers.test.ts, its app and its clients. */

export type AppOrder = "report" | "end";

export interface AppReport {
  readonly sessions: RegistryStatistics;
  /** The close reasons of streams, by name. */
  readonly reasons: Readonly<Record<string, string | null>>;
  /** The number of client sockets. */
  readonly connections: number;
}

/** A port for each transport. On `both`, an IPv4 client has a mapped address. */
export const PORTS = { ipv4: 8_001, both: 8_002, tls: 8_003, http2: 8_004 } as const;

export type Way = keyof typeof PORTS;

export type ClientOrder =
  | {
      readonly order: "open";
      readonly name: string;
      readonly way: Way;
      readonly host: string;
      readonly from: string;
    }
  /** Stops reading. */
  | { readonly order: "pause"; readonly name: string }
  | { readonly order: "report" };

/** The events of each stream. */
export type ClientReport = Readonly<Record<string, readonly ReceivedEvent[]>>;

/** A pre-shared key instead of certificates. */
export const TLS = { ciphers: "PSK", maxVersion: "TLSv1.2" } as const;
export const SECRET = "which is none";
