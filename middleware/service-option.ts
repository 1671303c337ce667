import { assertOptions, optionError } from "../lib/adapter.js";
import { ConfigError, type RedisSse, type ResumePolicy } from "../lib/index.js";

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

/** Checks that the service of a mount can sign its ids. The default service is checked at the first request. Throws `ConfigError`. */
export function assertResume({
  service,
  resume,
}: {
  service?: RedisSse;
  resume?: ResumePolicy | undefined;
}): void {
  if (resume === undefined || resume === "all" || resume === false) return;
  const fault = service?.check({ resume }, null);
  if (fault?.code === "CONFIG") throw fault;
}

function isService(value: unknown): value is RedisSse {
  if (typeof value !== "object" || value === null) return false;
  const { open, publish } = value as { open?: unknown; publish?: unknown };
  return typeof open === "function" && typeof publish === "function";
}
