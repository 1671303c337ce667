import { assertOptions, optionError } from "../lib/adapter.js";
import { ConfigError, type RedisSse } from "../lib/index.js";
import type { SseStreamOptions } from "./stream-options.js";

/**
 * Checks that the options of a mount are an object with only `known` names, and that `service` is a service. Throws
 * `ConfigError`.
 */
export function assertMountOptions(
  options: { readonly service?: unknown },
  known?: ReadonlySet<string>,
): void {
  assertOptions("options", options);
  if (isService(options))
    throw new ConfigError("expected an object with options, got a service. Pass { service: sse }.");
  assertOptions("options", options, known);
  // With `service: undefined`, the mount would use the default service, and the application publishes through another one.
  if (!("service" in options) || isService(options.service)) return;
  const { message } = optionError("service as the return value of createRedisSse()", options.service);
  throw new ConfigError(message.endsWith("a promise") ? `${message}. Await it.` : message);
}

/** Checks that the service of a mount can apply `resume`. The default service checks it at each request. Throws `ConfigError`. */
export function assertResume(options: Pick<SseStreamOptions, "service" | "resume">): void {
  if (options.resume === undefined) return;
  const fault = options.service?.check({ resume: options.resume }, null);
  if (fault?.code === "CONFIG") throw fault;
}

function isService(value: unknown): value is RedisSse {
  if (typeof value !== "object" || value === null) return false;
  const { open, publish } = value as { open?: unknown; publish?: unknown };
  return typeof open === "function" && typeof publish === "function";
}
