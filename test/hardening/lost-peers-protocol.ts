import type { RegistryStatistics } from "../../lib/index.js";
import type { ReceivedEvent } from "../support/sse-client.js";

/** What the test of lost peers, its app and its clients say to each other. */

export type AppOrder = "report" | "end";

export interface AppReport {
  readonly sessions: RegistryStatistics;
  /** Why the streams have ended, by name. */
  readonly reasons: Readonly<Record<string, string | null>>;
  /** Sockets of clients. */
  readonly connections: number;
}

/** A port for each way to come; on `both` an IPv4 client has a mapped address. */
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
  /** Reads no more. */
  | { readonly order: "pause"; readonly name: string }
  | { readonly order: "report" };

/** What each stream has received. */
export type ClientReport = Readonly<Record<string, readonly ReceivedEvent[]>>;

/** A secret on both sides, in place of certificates. */
export const TLS = { ciphers: "PSK", maxVersion: "TLSv1.2" } as const;
export const SECRET = "which is none";
