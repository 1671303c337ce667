import { Connection } from "./connection.js";
import type { EventDefinitions, EventMap, EventSchemas, EventsOf } from "./define-events.js";
import { createFetchSource, type StreamUrl } from "./fetch-source.js";
import { checkOptions, type ConnectOptions } from "./options.js";
import type { Source } from "./source.js";
import type { StreamConnection } from "./connection-types.js";

/**
 * Opens a stream and keeps it open: it reconnects after each failure, resumes after the last event, finds dead
 * connections, and reports its status. It ends when you close it, when the stream is complete, or when the server refuses it.
 *
 * `url` is a URL, a function that returns the URL for each connection, or a `Source`. If the function fails or returns
 * no URL, the client waits with the reason "url", and asks again. Throws a `TypeError` if the URL or an option is invalid.
 *
 * @example
 * ```ts
 * const stream = connect("/orders/events");
 * stream.on("order", (order) => show(order));
 * stream.onGap(() => location.reload());
 * stream.onStatus(({ state }) => (document.title = state));
 * ```
 */
export function connect<Schemas extends EventSchemas>(
  url: StreamUrl | Source,
  options: ConnectOptions<Schemas> & { readonly events: EventDefinitions<Schemas> },
): StreamConnection<EventsOf<Schemas>>;
/** The same without schemas: `Events` names the types of the data. */
export function connect<Events extends EventMap = EventMap>(
  url: StreamUrl | Source,
  options?: ConnectOptions,
): StreamConnection<Events>;
export function connect(url: StreamUrl | Source, options: ConnectOptions = {}): StreamConnection {
  const source = isSource(url) ? url : createFetchSource(url, options);
  checkOptions(options, source.name);
  return new Connection(source, options);
}

function isSource(url: StreamUrl | Source): url is Source {
  return typeof url === "object" && url !== null && "open" in url;
}
