import type { RedisSseError } from "../../../lib/errors.js";
import type { EventBatch } from "../../../lib/events/event-batch.js";
import type { InboundEvent } from "../../../lib/events/inbound-event.js";
import { Slices } from "../../../lib/slices.js";
import type { Interruption } from "../../../lib/replay/log-head.js";
import type { HubMember } from "../../../lib/subscriptions/fan-out.js";
import {
  SubscriptionHub,
  type HubConnection,
  type HubHandlers,
} from "../../../lib/subscriptions/subscription-hub.js";
import { FakeClock } from "../../support/fake-clock.js";
import { loggedEvent, plainEvent } from "../../support/inbound-events.js";

export const LINGER_MS = 500;

/** A hub whose server answers at once. It drops the message "malformed" and throws for the message "bug". */
export class HubRig {
  readonly clock: FakeClock = new FakeClock();
  readonly connection: FakeConnection = new FakeConnection();
  /** Messages in the order in which they were read. */
  readonly reads: string[] = [];
  readonly hub: SubscriptionHub;
  connects = 0;
  onConnect: () => void = () => {};

  constructor(slices?: Slices) {
    this.hub = new SubscriptionHub({
      connect: (handlers) => {
        this.connects++;
        this.onConnect();
        this.connection.handlers = handlers;
        return this.connection;
      },
      read: (channel, message) => this.#read(channel, message),
      now: () => 0,
      clock: this.clock,
      slices: slices ?? new Slices(this.clock),
      lingerMs: LINGER_MS,
      closeTimeoutMs: 2_000,
    });
  }

  /** Creates a member that joins some channels. */
  async member(...names: readonly string[]): Promise<Member> {
    const member = new Member();
    await Promise.all(names.map((name) => Promise.resolve(this.hub.join(name, member))));
    return member;
  }

  /** Receives messages without ending the tick. */
  say(channel: string, ...messages: readonly string[]): void {
    for (const message of messages) this.connection.handlers!.onMessage(channel, message);
  }

  /** Receives a message and ends the tick. */
  message(channel: string, message: string): void {
    this.say(channel, message);
    this.hub.flush();
  }

  /** The message "at 5" has position 5 in its channel's log. Other messages have no position. */
  #read(channel: string, message: string): InboundEvent | null {
    this.reads.push(message);
    if (message === "bug") throw new Error("a bug");
    if (message === "malformed") return null;
    const offset = Number(/^at (\d+)$/.exec(message)?.[1] ?? 0);
    return offset > 0 ? loggedEvent(channel, offset) : plainEvent(channel, message);
  }
}

export class FakeConnection implements HubConnection {
  ready = true;
  detached = false;
  handlers: HubHandlers | null = null;
  readonly log: string[] = [];
  readonly server: Set<string> = new Set<string>();
  /** How the server answers a command. */
  answer: (channels: readonly string[]) => Promise<void> = () => Promise.resolve();

  isReady(): boolean {
    return this.ready;
  }

  async subscribe(channels: readonly string[]): Promise<void> {
    this.log.push(`subscribe ${channels.join(" ")}`);
    await this.answer(channels);
    for (const name of channels) this.server.add(name);
  }

  async unsubscribe(channels: readonly string[]): Promise<void> {
    this.log.push(`unsubscribe ${channels.join(" ")}`);
    await this.answer(channels);
    for (const name of channels) this.server.delete(name);
  }

  detach(): void {
    this.detached = true;
  }

  lose(): void {
    this.ready = false;
    this.server.clear();
    this.handlers!.onDown();
  }

  restore(): void {
    this.ready = true;
    this.handlers!.onReady();
  }
}

export class Member implements HubMember {
  round = 0;
  readonly batches: EventBatch[] = [];
  /** "cork", "uncork", and the data of each batch. */
  readonly calls: string[] = [];
  readonly gaps: (readonly string[])[] = [];
  /** `unlogged` of each gap, by channel. */
  readonly unlogged: Readonly<Record<string, boolean>>[] = [];
  readonly refusals: [channel: string, code: string][] = [];
  onDeliver: (batch: EventBatch) => void = () => {};
  onCork: () => void = () => {};
  onUncork: () => void = () => {};
  onInterrupted: () => void = () => {};
  onRefused: () => void = () => {};

  /** The data of each batch. */
  get heard(): readonly string[] {
    return this.calls.filter((call) => !call.endsWith("cork"));
  }

  deliver(batch: EventBatch): void {
    this.batches.push(batch);
    this.calls.push(batch.events.map(({ data }) => data).join(" "));
    this.onDeliver(batch);
  }

  cork(): void {
    this.calls.push("cork");
    this.onCork();
  }

  uncork(): void {
    this.calls.push("uncork");
    this.onUncork();
  }

  interrupted(interruptions: readonly Interruption[]): void {
    this.gaps.push(interruptions.map(({ channel }) => channel));
    this.unlogged.push(Object.fromEntries(interruptions.map(({ channel, unlogged }) => [channel, unlogged])));
    this.onInterrupted();
  }

  refused(channel: string, fault: RedisSseError): void {
    this.refusals.push([channel, fault.code]);
    this.onRefused();
  }
}
