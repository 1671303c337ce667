import type { RequestHandler } from "express";

import { assertStreamOptions, optionError } from "../lib/adapter.js";
import { ChannelWarning } from "./channel-warning.js";
import { RuleErrors } from "./rule-errors.js";
import type { ChannelResolver, RouteParams, SseStreamOptions } from "./stream-options.js";
import { assertMountOptions, assertResume } from "./service-option.js";
import { assertMethods, serve, streamHandler } from "./stream-handler.js";

/**
 * Creates a handler that streams the events of the resolved channels to the client.
 *
 * The stream ends when the client leaves, or when the server closes it. Then all its resources are released.
 *
 * If the resolver throws or rejects, the error goes to `next(err)`, and nothing was sent. A retryable error of this library is
 * the exception: the client gets an `error` event and reconnects (see `onUnavailable`).
 *
 * Throws `ConfigError` if an argument or an option is invalid.
 */
export function sseStream<Params = RouteParams>(
  channelResolver: ChannelResolver<Params>,
  options: SseStreamOptions<Params> = {},
): RequestHandler<Params> {
  assertArguments(channelResolver, options);
  const errors = new RuleErrors(options.onError);
  const warning = new ChannelWarning();
  return streamHandler(channelResolver, options, (visit, selection) => {
    warning.look(selection, visit.service);
    return serve(visit, selection, options, errors);
  });
}

const KNOWN: ReadonlySet<string> = new Set<keyof SseStreamOptions>([
  "service",
  "key",
  "onLimit",
  "methods",
  "allowOrigins",
  "from",
  "resume",
  "revalidate",
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
    throw optionError("sseStream(channelResolver) with a function", channelResolver);
  }
  assertMountOptions(options, KNOWN);
  assertStreamOptions(options);
  assertResume(options);
  assertMethods(options.methods);
  for (const name of ["key", "first", "onError", "onOpen"] as const) {
    if (options[name] === undefined || typeof options[name] === "function") continue;
    throw optionError(`${name} as a function`, options[name]);
  }
}
