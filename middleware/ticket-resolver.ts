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
   * Milliseconds for which the client can reconnect with its ticket after its stream has ended: 1,000 to 86,400,000 (24 hours).
   *
   * @defaultValue 60_000
   */
  readonly reconnectMs?: number | undefined;
}

const KNOWN: ReadonlySet<string> = new Set<keyof TicketResolverOptions>(["service", "reconnectMs"]);

/**
 * Creates a resolver for clients that can send neither a cookie nor a header.
 *
 * The client sends a ticket of `sse.tickets.issue()` in the query parameter `ticket`. The ticket determines the channels, the key
 * and the time when the right ends. Only one client can use a ticket. When its stream ends, it can reconnect for `reconnectMs`.
 *
 * The id of each event contains a secret of this client. An EventSource sends the id in the header `Last-Event-ID`. All other
 * requests with the ticket are answered 401 (`TICKET_INVALID`).
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
    // An id in the URL is ignored. Otherwise the logs of a proxy could contain a ticket together with its secret.
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
