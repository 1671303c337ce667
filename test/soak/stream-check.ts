import { decodeNumber, type Ledger } from "./ledger.js";
import { keepsHistory, type SubscriptionMode } from "./options.js";
import type { Violations } from "./violations.js";

/** A hole that no `gap` told of before the next message: a violation, should one of its numbers turn out to have been published. */
export interface SilentHole {
  readonly stream: string;
  readonly channel: string;
  readonly from: number;
  readonly to: number;
  readonly seenAt: number;
}

export interface StreamCheckOptions {
  readonly name: string;
  readonly channels: readonly string[];
  readonly mode: SubscriptionMode;
  readonly ledger: Ledger;
  readonly violations: Violations;
  /** Holes are judged when the run is over: an answer to PUBLISH may come later than the message itself. */
  readonly silentHoles: SilentHole[];
}

type Phase = "new" | "connected" | "fault-told" | "closing-told" | "over";

/** The rules of one stream, as its client can see them. */
export class StreamCheck {
  readonly #options: StreamCheckOptions;
  /** The last number of each channel; before the first, the last that was issued when the stream was connected. */
  readonly #last = new Map<string, number>();
  readonly #heard = new Set<string>();
  /** Channels of which a gap was told since their last number. */
  readonly #gapped = new Set<string>();
  #phase: Phase = "new";

  constructor(options: StreamCheckOptions) {
    this.#options = options;
  }

  get name(): string {
    return this.#options.name;
  }

  get connected(): boolean {
    return this.#phase === "connected";
  }

  /** Whether the server has said why the stream ends. */
  get wasToldWhy(): boolean {
    return this.#phase === "fault-told" || this.#phase === "closing-told";
  }

  get channels(): readonly string[] {
    return this.#options.channels;
  }

  /** The last number that came on a channel. */
  reached(channel: string): number {
    return this.#last.get(channel) ?? 0;
  }

  event(event: string, data: string, id: string | null = null, now: number = Date.now()): void {
    if (this.#phase === "over") return this.#broken("nothing follows the end", event);
    if (this.#phase === "closing-told" || (this.#phase === "fault-told" && event !== "closing")) {
      return this.#broken("nothing follows `closing`, and only `closing` follows `error`", event);
    }
    if (this.#phase === "new" && event !== "connected" && event !== "error") {
      return this.#broken("a stream begins with `connected` or `error`", event);
    }
    // What is published here is in no log: a client has a place in one from the beginning, or never.
    const hasPlace = event === "connected" && keepsHistory(this.#options.mode);
    if (hasPlace ? id === null || !/^3\.[\w-]+$/.test(id) : id !== null) {
      this.#broken(
        "an id comes with `connected` where there is a history, and with nothing else",
        `${event} ${id}`,
      );
    }
    switch (event) {
      case "connected":
        return this.#begin();
      case "message":
        return this.#message(data, now);
      case "gap":
        return this.#gap(JSON.parse(data) as { channels: string[]; reason: string });
      case "error":
        this.#phase = "fault-told";
        return;
      case "closing":
        this.#phase = "closing-told";
        return;
      default:
        this.#broken("a stream has only the events that were published", event);
    }
  }

  /** The stream is over, or its client has left: nothing of it is looked at any more. */
  end(): void {
    this.#phase = "over";
  }

  #begin(): void {
    if (this.#phase !== "new") return this.#broken("`connected` comes once", "connected");
    this.#phase = "connected";
    // Whatever is published from now on has to come.
    for (const channel of this.channels) this.#last.set(channel, this.#options.ledger.issued(channel));
  }

  #message(data: string, now: number): void {
    const message = decodeNumber(data);
    if (message === null) return this.#broken("data comes as it was published", data.slice(0, 80));
    const { channel, number } = message;
    const last = this.#last.get(channel);
    if (last === undefined) return this.#broken("only the channels that were asked for come", channel);
    // The first may be one that was on its way when the stream was connected.
    if (number <= last && this.#heard.has(channel)) {
      return this.#broken("numbers increase", `${number} after ${last} on ${channel}`);
    }
    if (number > last + 1 && !this.#gapped.has(channel)) {
      const { name: stream, silentHoles } = this.#options;
      silentHoles.push({ stream, channel, from: last + 1, to: number - 1, seenAt: now });
    }
    this.#gapped.delete(channel);
    this.#heard.add(channel);
    this.#last.set(channel, number);
  }

  #gap({ channels, reason }: { channels: string[]; reason: string }): void {
    if (this.#options.mode === "dedicated") {
      return this.#broken("a dedicated stream ends with its connection, and has no gap", reason);
    }
    for (const channel of channels) {
      if (!this.channels.includes(channel)) this.#broken("a gap names channels of the stream", channel);
      this.#gapped.add(channel);
    }
  }

  #broken(rule: string, what: string): void {
    this.#options.violations.add(rule, `${this.#options.name}: ${what}`);
  }
}

/** Those holes that hide something that was certainly published. */
export function judgeSilentHoles(holes: readonly SilentHole[], ledger: Ledger, violations: Violations): void {
  for (const { stream, channel, from, to, seenAt } of holes) {
    const lost = ledger.firstCertain(channel, from, to);
    if (lost === null) continue;
    violations.add(
      "nothing is lost in silence",
      `${stream}: ${from} to ${to} on ${channel} are missing without a gap, of which ${lost} was published`,
      seenAt,
    );
  }
}
