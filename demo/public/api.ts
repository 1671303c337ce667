import { asObject, objectAt, parse, stringAt, type JsonObject } from "./json.js";

/** The server's refusal, with the message it has for the person; status 0 when no answer came. */
export class ApiError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.name = "ApiError";
    this.status = status;
  }
}

let isRedisAway = false;

/** While Redis is away, nothing can be changed. Then `call()` does not even ask. */
export function setRedisAway(away: boolean): void {
  isRedisAway = away;
}

interface CallOptions {
  readonly body?: JsonObject;
  readonly token?: string;
}

/** So that a request the network has swallowed does not hold its place for ever. */
const TIMEOUT_MS = 10_000;

/** The answer's JSON object ({} when it has none); throws ApiError for everything but 2xx. */
export async function call(method: string, path: string, options: CallOptions = {}): Promise<JsonObject> {
  const headers = new Headers({ accept: "application/json" });
  if (options.body !== undefined) headers.set("content-type", "application/json");
  if (options.token !== undefined) headers.set("authorization", `Bearer ${options.token}`);

  if (isRedisAway && method === "POST") {
    throw new ApiError(0, "Redis is away. Try again when the connection is back.");
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
    throw new ApiError(0, "The server cannot be reached.");
  }

  const answer = asObject(parse(text));
  if (status < 200 || status > 299) {
    throw new ApiError(
      status,
      stringAt(objectAt(answer, "error"), "message") ?? `The server answered ${status}.`,
    );
  }
  return answer ?? {};
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
