import type { Request, RequestHandler } from "express";

import { BadRequest } from "./input.js";

/** Rejects changes from pages of other sites. Requests without browser headers, for example from `curl`, are allowed. */
export const refuseOtherSites: RequestHandler = (req, _res, next) => {
  if (req.method !== "GET" && req.method !== "HEAD" && isFromOtherSite(req)) {
    throw new BadRequest(
      403,
      "CROSS_SITE",
      "Requests from pages of other sites cannot change data. Use the demo's own page.",
    );
  }
  next();
};

function isFromOtherSite({ headers }: Request): boolean {
  const site = headers["sec-fetch-site"];
  // `same-site` is not enough: another port of this host can belong to another program.
  if (site !== undefined) return site !== "same-origin" && site !== "none";
  // Over plain HTTP, browsers send `Sec-Fetch-Site` only to localhost.
  const { origin, host } = headers;
  return origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`;
}
