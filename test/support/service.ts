import { format } from "node:util";

import { expect } from "chai";
import createDebug from "debug";
import type { Redis } from "ioredis";

import { RedisSseError, type RedisSse, type RedisSseOptions } from "../../lib/index.js";
import { parseMessage } from "../../lib/events/inbound-event.js";
import { eventually, settle } from "./eventually.js";

/** A service of one test's own; all that a suite makes are on one server. */
export interface ServiceUnderTest {
  readonly sse: RedisSse;
  stop(): Promise<void>;
}

export type MakeService = (options?: RedisSseOptions) => Promise<ServiceUnderTest>;

/** A connection of the test's own on the service's server, to see and do what other programs would. */
export function rawClient(sse: RedisSse): Redis {
  return (sse.pool.commands as Redis).duplicate({ connectionName: "test:raw" });
}

/** What other programs hear on a channel. */
export async function listen(
  sse: RedisSse,
  channel: string,
): Promise<{ messages: readonly string[]; sync(): Promise<void>; stop(): Promise<void> }> {
  const client = rawClient(sse);
  const messages: string[] = [];
  let marks = 0;
  // What is in an envelope is what was meant.
  client.on("message", (_: string, message: string) => messages.push(parseMessage(message)?.data ?? message));
  await client.subscribe(channel);
  return {
    messages,
    /** Resolves when all that was published before this call has been heard. */
    async sync() {
      const mark = `mark ${marks++}`;
      await sse.pool.commands.publish(channel, mark);
      await eventually(() => expect(messages).to.include(mark));
      messages.splice(messages.indexOf(mark), 1);
    },
    async stop() {
      await client.unsubscribe(channel);
      await client.quit();
    },
  };
}

/** Resolves when the service's worker has looked at its queue, found nothing, and waits. */
export async function untilIdle(sse: RedisSse): Promise<void> {
  await eventually(async () => expect((await sse.status()).hub.subscribed).to.be.greaterThan(0));
  await settle(); // the look that follows the subscription is on its way
  await sse.pool.commands.ping(); // and is answered before this
  await settle();
}

/** What a promise rejects with; a promise that does not is a failure. */
export async function faultOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => expect.fail("expected a rejection"),
    (error: unknown) => error,
  );
}

export function expectFault(error: unknown, code: string, what?: string): void {
  expect(error, what).to.be.instanceOf(RedisSseError);
  expect((error as RedisSseError).code, what).to.equal(code);
}

/** What JSON has no text for. */
export const circular: Record<string, unknown> = {};
circular["itself"] = circular;

export const thrower: { toJSON(): never } = {
  toJSON(): never {
    throw new Error("password=hunter2");
  },
};

/** What one namespace of `debug` logs, until it is restored. */
export function captureLog(namespace: string): { readonly lines: readonly string[]; restore(): void } {
  const lines: string[] = [];
  const enabled = createDebug.disable();
  const print = createDebug.log;
  createDebug.enable(namespace);
  createDebug.log = (...values: unknown[]) => void lines.push(format(...values));
  return {
    lines,
    restore() {
      createDebug.log = print;
      createDebug.enable(enabled);
    },
  };
}
