import type { IncomingMessage } from "node:http";

import { readReconnectMs } from "../lib/adapter.js";
import type { RedisSse, StreamAccess } from "../lib/index.js";
import { defaultService } from "./default-service.js";
import { assertMountOptions } from "./service-option.js";

/** Options of `ticketResolver()`. */
export interface TicketResolverOptions {
  /**
   * The service that issued the tickets, or another one with the same Redis and `keyPrefix`.
   *
   * @defaultValue the service that `defaultService()` returns
   */
  readonly service?: RedisSse;
  /**
   * How long after the end of its stream the client can reconnect with its ticket, from 1,000 ms to 24 hours.
   *
   * @defaultValue 60_000
   */
  readonly reconnectMs?: number | undefined;
}

const KNOWN: ReadonlySet<string> = new Set<keyof TicketResolverOptions>(["service", "reconnectMs"]);

/**
 * Creates a resolver for clients that cannot send a header. The client sends a ticket of `sse.tickets.issue()` in the query
 * parameter `ticket`. The ticket has the channels, the key and the end of the right.
 *
 * One client can use a ticket. It can reconnect until `reconnectMs` after the end of its last stream: the id of each event holds
 * a secret of this client, and an EventSource sends it in the header `Last-Event-ID`. All other requests are answered 401
 * (`TICKET_INVALID`).
 *
 * Throws `ConfigError` if an option is invalid.
 *
 * @example
 * app.get("/events", sseStream(ticketResolver({ service: sse }), { service: sse }));
 */
export function ticketResolver(
  options: TicketResolverOptions = {},
): (req: IncomingMessage) => Promise<StreamAccess> {
  assertMountOptions(options, KNOWN);
  const reconnectMs = readReconnectMs(options.reconnectMs);
  return (req) => {
    const { tickets } = options.service ?? defaultService();
    // The id in the URL is not read: the logs of a proxy would have the ticket together with the secret.
    return tickets.access(ticketOf(req.url!), {
      lastEventId: req.headers["last-event-id"]?.toString(),
      reconnectMs,
    });
  };
}

/** Returns the ticket in a URL; `undefined` without a ticket, or with several. Reads the text, as `lastEventIdOf()` does. */
function ticketOf(url: string): string | undefined {
  const start = url.indexOf("?");
  if (start < 0) return undefined;
  const [ticket, ...others] = new URLSearchParams(url.slice(start + 1)).getAll("ticket");
  return others.length === 0 ? ticket : undefined;
}
