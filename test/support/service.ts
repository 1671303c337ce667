import { format } from "node:util";

import { expect } from "chai";
import createDebug from "debug";
import type { Redis } from "ioredis";

import { RedisSseError, type RedisSse, type RedisSseOptions } from "../../lib/index.js";
import { parseMessage } from "../../lib/events/inbound-event.js";
import { eventually, settle } from "./eventually.js";

/** A service for one test. All services of a suite use one server. */
export interface ServiceUnderTest {
  readonly sse: RedisSse;
  stop(): Promise<void>;
}

export type MakeService = (options?: RedisSseOptions) => Promise<ServiceUnderTest>;

/** A connection of the test on the service's server, for the view of other programs. */
export function rawClient(sse: RedisSse): Redis {
  return (sse.pool.commands as Redis).duplicate({ connectionName: "test:raw" });
}

/** Messages that other programs receive on a channel. */
export async function listen(
  sse: RedisSse,
  channel: string,
): Promise<{ messages: readonly string[]; sync(): Promise<void>; stop(): Promise<void> }> {
  const client = rawClient(sse);
  const messages: string[] = [];
  let marks = 0;
  // Reads the event inside an envelope.
  client.on("message", (_: string, message: string) => messages.push(parseMessage(message)?.data ?? message));
  await client.subscribe(channel);
  return {
    messages,
    /** Resolves when all messages published before this call have arrived. */
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

/** Resolves when the worker of the service has polled an empty queue and waits. */
export async function untilIdle(sse: RedisSse): Promise<void> {
  await eventually(async () => expect((await sse.status()).hub.subscribed).to.be.greaterThan(0));
  await settle(); // the poll after the subscription has been sent
  await sse.pool.commands.ping(); // and Redis answers it before this command
  await settle();
}

/** Returns the error of a rejected promise. Fails if the promise resolves. */
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

/** Values that JSON cannot represent. */
export const circular: Record<string, unknown> = {};
circular["itself"] = circular;

export const thrower: { toJSON(): never } = {
  toJSON(): never {
    throw new Error("password=hunter2");
  },
};

/** Records the lines of one `debug` namespace until it is restored. */
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
