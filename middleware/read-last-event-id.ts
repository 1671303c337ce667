import type { Request } from "express";

const NAME = "lastEventId";

/** Not a valid id: the client gets a `gap` (`malformed`). */
const MALFORMED = "malformed";

/**
 * Returns the client's last event id. An EventSource sends it as a header when it reconnects. A page that stores the id itself
 * can send it as a query parameter.
 */
export function lastEventIdOf<Params>(req: Request<Params>): string | undefined {
  return req.get("Last-Event-ID") || fromQuery(req.url) || undefined;
}

/**
 * Returns the last value that is not empty, because some clients append a parameter each time they reconnect. It reads the
 * URL, because query parsers handle repeated parameters differently.
 */
function fromQuery(url: string): string | undefined {
  const start = url.indexOf("?");
  // Most URLs have no such parameter. Its name can be percent-encoded.
  if (start < 0 || !(url.includes(NAME, start) || url.includes("%", start))) return undefined;
  let last: string | undefined;
  for (const [name, value] of new URLSearchParams(url.slice(start + 1))) {
    if (name.startsWith(`${NAME}[`)) return MALFORMED;
    if (name === NAME && value !== "") last = value;
  }
  return last;
}
