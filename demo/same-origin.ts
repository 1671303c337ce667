import type { Request, RequestHandler } from "express";

import { BadRequest } from "./input.js";

/** Refuses requests that change something and come from a page of another site. `curl` sends no such header, and passes. */
export const refuseOtherSites: RequestHandler = (req, _res, next) => {
  if (req.method !== "GET" && req.method !== "HEAD" && isFromOtherSite(req)) {
    throw new BadRequest(
      403,
      "CROSS_SITE",
      "This request comes from a page of another site. Only the demo's own page can change something.",
    );
  }
  next();
};

function isFromOtherSite({ headers }: Request): boolean {
  const site = headers["sec-fetch-site"];
  // Another port of the same host is `same-site`, and may belong to another program.
  if (site !== undefined) return site !== "same-origin" && site !== "none";
  // Browsers leave `Sec-Fetch-Site` out on plain HTTP, except on localhost.
  const { origin, host } = headers;
  return origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`;
}
