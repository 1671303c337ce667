import type { Request } from "express";

/**
 * Drops the parts of a request that Express needs only to find its handler: the functions of the routers, and the parsed URL.
 * They take 1 KB for each open stream.
 *
 * Everything else stays, because loggers, session stores and listeners of the application read it when the stream ends. Express
 * parses the URL again when `req.query` or `req.path` is read.
 */
export function dropRouting<Params>(req: Request<Params>): void {
  const routing = req as { next?: unknown; _parsedUrl?: unknown };
  routing.next = undefined;
  routing._parsedUrl = undefined;
}
