import type { IncomingHttpHeaders } from "node:http";

import type { Request, Response } from "express";

import { answerTo, optionError, type HttpAnswer } from "../lib/adapter.js";
import { ConfigError, RedisSseError, type RedisSse } from "../lib/index.js";
import type { SseStreamOptions } from "./stream-options.js";

const ALLOW_ORIGIN = "Access-Control-Allow-Origin";

/** The request headers that pages of other origins may send. `EventSource` polyfills and clients that use `fetch` send them. */
const REQUEST_HEADERS = "Last-Event-ID, Authorization, Content-Type, Cache-Control";

/** Longer origins are cut in the log. A host name has at most 253 characters. */
const MAX_LOGGED = 300;

/** Decides for one mount which pages of other origins can open a stream, and which can read the answer. */
export class Origins {
  /** `null` without the option. */
  readonly #allowed: ReadonlySet<string> | "*" | null;
  readonly #methods: string;
  #warned = false;

  /** Throws `ConfigError` if the option `allowOrigins` is invalid. */
  constructor(allowOrigins: SseStreamOptions["allowOrigins"], methods: readonly string[]) {
    this.#allowed = readOrigins(allowOrigins);
    this.#methods = methods.join(", ");
  }

  /**
   * Sets the CORS headers of the response, so that every later answer to the request has them.
   *
   * Returns the answer to a preflight request, and to a request of another site that must be refused. Returns `null` for all
   * other requests.
   */
  answer<Params>(req: Request<Params>, res: Response, service: Pick<RedisSse, "log">): HttpAnswer | null {
    const isAsUser = isFromOtherSiteWithCookies(req);
    if (this.#allowed === null && !isAsUser) return null;
    const { origin } = req.headers;
    // CORS middleware of the application comes first, and its decision counts.
    const decided = res.getHeader(ALLOW_ORIGIN);
    const isReadable = decided === undefined && this.#setHeaders(origin, res);
    if (this.#allowed !== null && isPreflight(req)) return this.#preflightAnswer(isReadable);
    // "*" of the middleware does not count: with cookies, browsers do not show the answer to the page.
    const isAllowed = decided === undefined ? this.#names(origin) : decided === origin;
    if (!isAsUser || isAllowed) return null;
    this.#warn(origin, service);
    // The answer depends on the origin even without the option, so a cache must not share it.
    res.vary("Origin");
    return answerTo(
      new RedisSseError(
        "CROSS_SITE",
        "A page of another site sent this request with cookies. If the page is yours, add its origin to allowOrigins.",
      ),
    );
  }

  /** Returns whether pages of this origin can read the answer. */
  #setHeaders(origin: string | undefined, res: Response): boolean {
    if (this.#allowed === null) return false;
    if (this.#allowed === "*") {
      res.set(ALLOW_ORIGIN, "*");
    } else {
      res.vary("Origin");
      if (!this.#names(origin)) return false;
      res.set({ [ALLOW_ORIGIN]: origin, "Access-Control-Allow-Credentials": "true" });
    }
    res.set("Access-Control-Expose-Headers", "Retry-After");
    return true;
  }

  /** Whether the list has this origin. For `"*"`, the result is false, because `"*"` allows no requests with cookies. */
  #names(origin: string | undefined): origin is string {
    return origin !== undefined && this.#allowed instanceof Set && this.#allowed.has(origin);
  }

  #preflightAnswer(isReadable: boolean): HttpAnswer {
    const permissions = {
      "Access-Control-Allow-Methods": this.#methods,
      "Access-Control-Allow-Headers": REQUEST_HEADERS,
      "Access-Control-Max-Age": "600",
    };
    return { status: 204, headers: isReadable ? permissions : {}, body: Buffer.alloc(0) };
  }

  #warn(origin: string | undefined, { log }: Pick<RedisSse, "log">): void {
    if (this.#warned) return;
    this.#warned = true;
    log.warn(
      "a page of another site asked for a stream with the cookies of the user, and was refused. Its origin is %s. If the " +
        "page is yours, add its origin to the option allowOrigins of this mount. This mount prints the warning once.",
      origin?.slice(0, MAX_LOGGED) ?? "unknown",
    );
  }
}

/**
 * Whether a script or an element of a page of another site sent the request with the cookies of the user.
 *
 * Other programs and old browsers do not send `Sec-Fetch-Site`. Over plain HTTP, browsers send it only to localhost.
 */
function isFromOtherSiteWithCookies<Params>({ method, headers }: Request<Params>): boolean {
  return (
    headers["sec-fetch-site"] === "cross-site" &&
    headers.cookie !== undefined &&
    !(method === "GET" && isPageView(headers))
  );
}

/** Whether the user opens the URL in a tab or a window. A frame and a form navigate too, but the other page opens them. */
function isPageView(headers: IncomingHttpHeaders): boolean {
  const { "sec-fetch-mode": mode, "sec-fetch-dest": target = "document" } = headers;
  return mode === "navigate" && target === "document";
}

/** Whether this is a preflight request. A browser sends it before the actual request. */
function isPreflight<Params>({ method, headers }: Request<Params>): boolean {
  return (
    method === "OPTIONS" &&
    headers.origin !== undefined &&
    headers["access-control-request-method"] !== undefined
  );
}

/** Checks the option `allowOrigins`. Throws `ConfigError`. */
function readOrigins(origins: unknown): ReadonlySet<string> | "*" | null {
  if (origins === undefined) return null;
  if (origins === "*") return "*";
  if (!Array.isArray(origins) || origins.length === 0) {
    throw optionError('allowOrigins as "*" or a non-empty array of origins', origins);
  }
  return new Set((origins as readonly unknown[]).map(readOrigin));
}

/** Browsers send an origin in exactly one form, so any other form would never match. */
function readOrigin(value: unknown): string {
  // A pattern is a valid URL, but matches no origin.
  if (typeof value !== "string" || value.includes("*") || !URL.canParse(value)) throw originError(value);
  const { origin } = new URL(value);
  if (value === origin) return origin;
  // For most schemes other than http and https, the origin is the text "null". Many unrelated pages have this origin.
  if (origin === "null") throw originError(value);
  throw new ConfigError(`expected allowOrigins to hold origins without a path, in lower case: "${origin}"`);
}

function originError(value: unknown): ConfigError {
  return optionError('allowOrigins to hold origins such as "https://app.example.com"', value);
}
