import { assertOptions, optionError } from "../lib/adapter.js";
import { ConfigError, type RedisSse } from "../lib/index.js";

/**
 * Checks that the options of a mount are an object with only `known` names, and that `service` is a service. Throws
 * `ConfigError`.
 */
export function assertMountOptions(
  options: { readonly service?: unknown },
  known?: ReadonlySet<string>,
): void {
  assertOptions("options", options);
  if (isService(options)) throw new ConfigError("expected options, got a service: pass { service: sse }");
  assertOptions("options", options, known);
  // A service that is undefined would be replaced by the default service, which the application does not publish through.
  if (!("service" in options) || isService(options.service)) return;
  const { message } = optionError("service as what createRedisSse() answered", options.service);
  throw new ConfigError(message.endsWith("a promise") ? `${message}: await it` : message);
}

function isService(value: unknown): value is RedisSse {
  if (typeof value !== "object" || value === null) return false;
  const { open, publish } = value as { open?: unknown; publish?: unknown };
  return typeof open === "function" && typeof publish === "function";
}
