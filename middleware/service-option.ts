import { ConfigError, describeValue, type RedisSse } from "../lib/index.js";

/** Checks the option `service`, and that the options are not the service itself. Throws `ConfigError`. */
export function assertServiceOption(options: { readonly service?: unknown }): void {
  if (isService(options)) throw new ConfigError("expected options, got a service: pass { service: sse }");
  // One that is forgotten or misspelt would stream from another service than the app publishes through.
  if (!("service" in options) || isService(options.service)) return;
  const { service } = options;
  const hint = describeValue(service) === "a promise" ? ": await it" : "";
  throw new ConfigError(
    `expected service as what createRedisSse() answered, got ${describeValue(service)}${hint}`,
  );
}

function isService(value: unknown): value is RedisSse {
  if (typeof value !== "object" || value === null) return false;
  const { open, publish } = value as { open?: unknown; publish?: unknown };
  return typeof open === "function" && typeof publish === "function";
}
