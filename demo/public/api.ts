import { asObject, objectAt, parse, stringAt, type JsonObject } from "./json.js";

/** An error answer, with a message for the user. The status is 0 if there was no answer. */
export class ApiError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.name = "ApiError";
    this.status = status;
  }
}

let isRedisAway = false;

/** While Redis is unavailable, `call()` rejects changes without a request. */
export function setRedisAway(away: boolean): void {
  isRedisAway = away;
}

interface CallOptions {
  readonly body?: JsonObject;
  readonly token?: string;
}

/** Ends requests that get no answer. */
const TIMEOUT_MS = 10_000;

/** Returns the JSON object of the answer, or {} if it has no object. Throws an ApiError if the status is not 2xx. */
export async function call(method: string, path: string, options: CallOptions = {}): Promise<JsonObject> {
  const headers = new Headers({ accept: "application/json" });
  if (options.body !== undefined) headers.set("content-type", "application/json");
  if (options.token !== undefined) headers.set("authorization", `Bearer ${options.token}`);

  if (isRedisAway && method === "POST") {
    throw new ApiError(0, "Redis is unavailable. Try again when the connection is back.");
  }

  let status = 0;
  let text = "";
  try {
    const response = await fetch(path, {
      method,
      headers,
      cache: "no-store",
      signal: AbortSignal.timeout(TIMEOUT_MS),
      ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
    });
    status = response.status;
    text = await response.text();
  } catch {
    throw new ApiError(0, "The server does not respond. Check that it is running.");
  }

  const answer = asObject(parse(text));
  if (status < 200 || status > 299) {
    throw new ApiError(
      status,
      stringAt(objectAt(answer, "error"), "message") ?? `The server answered with status ${status}.`,
    );
  }
  return answer ?? {};
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
