import type { Request } from "express";

const NAME = "lastEventId";

/** Not a valid id: the client gets a `gap` (`malformed`). */
const MALFORMED = "malformed";

/**
 * The header, which an EventSource sends when it reconnects, or else the query, for a page that keeps the id itself.
 */
export function lastEventIdOf<Params>(req: Request<Params>): string | undefined {
  return req.get("Last-Event-ID") || fromQuery(req.url) || undefined;
}

/**
 * The last value that is not empty, since some clients append a parameter each time they reconnect. Read from the URL:
 * the query parser of the app may make an array, an object or nothing of repeated parameters.
 */
function fromQuery(url: string): string | undefined {
  const start = url.indexOf("?");
  if (start < 0) return undefined;
  let last: string | undefined;
  for (const [name, value] of new URLSearchParams(url.slice(start + 1))) {
    if (name.startsWith(`${NAME}[`)) return MALFORMED;
    if (name === NAME && value !== "") last = value;
  }
  return last;
}
