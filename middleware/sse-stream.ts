import type { RequestHandler } from "express";

import {
  assertAtOnce,
  assertKnown,
  assertObject,
  ConfigError,
  describeValue,
  readMilliseconds,
  readOnLimit,
  readSlowConsumer,
} from "../lib/index.js";
import { ChannelWarning } from "./channel-warning.js";
import { RuleErrors } from "./rule-errors.js";
import type { ChannelResolver, RouteParams, SseStreamOptions } from "./stream-options.js";
import { serveStream } from "./serve-stream.js";
import { assertServiceOption } from "./service-option.js";
import { assertMethods, streamHandler } from "./stream-handler.js";

/**
 * Streams the resolved channels to the client until it leaves; then everything is given back. Faults of the
 * resolver go to `next(err)`, before anything is sent. Throws `ConfigError` for arguments that cannot be.
 */
export function sseStream<Params = RouteParams>(
  channelResolver: ChannelResolver<Params>,
  options: SseStreamOptions<Params> = {},
): RequestHandler<Params> {
  assertArguments(channelResolver, options);
  const errors = new RuleErrors(options.onError);
  const warning = new ChannelWarning();
  return streamHandler(channelResolver, options, (visit, selection) => {
    warning.look(selection);
    return serveStream(visit, selection, options, errors);
  });
}

const KNOWN: ReadonlySet<string> = new Set<keyof SseStreamOptions>([
  "service",
  "key",
  "onLimit",
  "methods",
  "from",
  "onUnavailable",
  "heartbeatMs",
  "retryMs",
  "slowConsumer",
  "filter",
  "transform",
  "until",
  "first",
  "onError",
  "onOpen",
]);

function assertArguments<Params>(channelResolver: unknown, options: SseStreamOptions<Params>): void {
  if (typeof channelResolver !== "function") {
    throw new ConfigError(
      `expected sseStream(channelResolver) with a function, got ${describeValue(channelResolver)}`,
    );
  }
  assertObject("options", options);
  assertServiceOption(options);
  assertKnown("options", options, KNOWN);
  const { from, slowConsumer, onUnavailable, onLimit, methods, heartbeatMs, retryMs } = options;
  readOnLimit(onLimit);
  assertMethods(methods);
  if (slowConsumer !== undefined) readSlowConsumer(slowConsumer);
  if (from !== undefined && from !== "now" && from !== "earliest") {
    throw new ConfigError(`expected from as "now" or "earliest", got ${describeValue(from)}`);
  }
  for (const name of ["key", "filter", "transform", "until", "first", "onError", "onOpen"] as const) {
    if (options[name] === undefined || typeof options[name] === "function") continue;
    throw new ConfigError(`expected ${name} as a function, got ${describeValue(options[name])}`);
  }
  for (const name of ["filter", "transform", "until"] as const) assertAtOnce(name, options[name]);
  if (onUnavailable !== undefined && onUnavailable !== "event" && onUnavailable !== "status") {
    throw new ConfigError(
      `expected onUnavailable as "event" or "status", got ${describeValue(onUnavailable)}`,
    );
  }
  for (const [name, value] of Object.entries({ heartbeatMs, retryMs })) {
    if (value !== undefined) readMilliseconds(name, value);
  }
}
