import { parseEventId, tagOf, type Position } from "../../lib/sse/event-id.js";
import { isLive, keepsEverything } from "./channels.js";
import { machineNow } from "./patience.js";
import { codeOf, decodePayload } from "./payload.js";
import type { ReceivedBlock } from "../support/event-reader.js";
import { GAP, Trail } from "./trail.js";

/** Number of recent blocks kept as context for a violation. */
const REMEMBERED = 12;

/** Reasons of gaps from a server that does not have the newest events. */
const LOSSES: ReadonlySet<string> = new Set(["future", "epoch"]);

type Phase = "new" | "connected" | "fault-told" | "closing-told" | "over";

/** Checks the rules of one client's streams while they arrive. Keeps the received events for the judge. */
export class ClientCheck {
  readonly channels: readonly string[];
  readonly trails: Map<string, Trail> = new Map();
  readonly #channelOf: ReadonlyMap<number, string>;
  readonly #mayLose: boolean;
  readonly #onViolation: (rule: string, context: string) => void;
  /** Positions by channel, from the last id. */
  #positions = new Map<string, Position>();
  readonly #recent: string[] = [];
  readonly #keptChannels: readonly string[];
  #connection = -1;
  #resumes = false;
  #isDedicated = false;
  #phase: Phase = "over";
  /** The stream reported an incomplete recovery, so a gap must follow. */
  #gapDue = false;
  /** Channels of gaps without an id, with their steps. The next gap must have an id for all of them. */
  #gapped = new Map<string, number>();

  /** `mayLose` is true if a server can be promoted that lacks some events. */
  constructor(
    channels: readonly string[],
    onViolation: (rule: string, context: string) => void,
    mayLose = false,
  ) {
    this.channels = channels;
    this.#keptChannels = channels.filter((channel) => !isLive(channel));
    this.#mayLose = mayLose;
    this.#channelOf = new Map(channels.map((channel) => [tagOf(channel), channel]));
    this.#onViolation = onViolation;
  }

  get live(): boolean {
    return this.#phase === "connected";
  }

  /** Whether the server has sent the reason for the end of the stream. */
  get wasToldWhy(): boolean {
    return this.#phase === "fault-told" || this.#phase === "closing-told";
  }

  /** Starts a new connection with the Last-Event-ID of the client. */
  open(lastEventId: string | undefined, isDedicated = false): void {
    this.#connection++;
    this.#isDedicated = isDedicated;
    this.#resumes = lastEventId !== undefined;
    this.#gapDue = false;
    this.#gapped.clear();
    this.#phase = "new";
    this.#remember(`asks with ${lastEventId ?? "nothing"}`);
  }

  /** The stream ended, or the client left. Nothing may follow. */
  close(): void {
    this.#phase = "over";
    this.pause();
  }

  /** The client stops reading. Events published from now on may be missing. */
  pause(): void {
    for (const { spans } of this.trails.values()) {
      const span = spans.get(this.#connection);
      if (span?.to === Infinity) span.to = machineNow();
    }
  }

  /** The client reads again, also the events published in between. */
  resume(): void {
    for (const { spans } of this.trails.values()) {
      const span = spans.get(this.#connection);
      if (span !== undefined && this.#phase !== "over") span.to = Infinity;
    }
  }

  block({ event: type, data, id }: ReceivedBlock): void {
    this.#remember(`${data === undefined ? "no event" : `${type} ${data.slice(0, 80)}`} id ${id ?? "-"}`);
    const before = this.#positions;
    const hasId = id !== undefined;
    if (hasId) this.#readId(id);
    if (data === undefined) return this.#expectMoved(before, new Map(), "a block without data");
    if (this.#phase === "over") return this.#broken("nothing follows the end", type);
    if (this.#phase === "closing-told" || (this.#phase === "fault-told" && type !== "closing")) {
      return this.#broken("nothing follows `closing`, and only `closing` follows `error`", type);
    }
    if (this.#phase === "new" && type !== "connected" && type !== "error") {
      return this.#broken("a stream begins with `connected` or `error`", type);
    }
    if (hasId && this.#keptChannels.length === 0) this.#broken("an id comes where there is a history", type);
    if (this.#gapDue && type !== "gap") this.#broken("who is not recovered is told a gap first", type);
    if (type === "connected") this.#connected(data, before, hasId);
    else if (type === "message") this.#message(data, before, hasId);
    else if (type === "gap") this.#gap(data, before, hasId);
    else if (type === "error" || type === "closing") {
      this.#phase = type === "error" ? "fault-told" : "closing-told";
      this.#expectMoved(before, new Map(), type);
    } else this.#broken("a stream has only the events that were published", type);
  }

  #connected(data: string, before: ReadonlyMap<string, Position>, hasId: boolean): void {
    if (this.#phase !== "new") return this.#broken("`connected` comes once", data);
    this.#phase = "connected";
    const { recovered } = JSON.parse(data) as { recovered: boolean };
    if (recovered && !this.#resumes) this.#broken("who did not ask for anything is not recovered", data);
    this.#gapDue = this.#resumes && !recovered;
    if (this.trails.size > 0) {
      this.#beginSpans();
      return this.#expectMoved(before, new Map(), "`connected`");
    }
    if (!hasId && this.#keptChannels.length > 0) {
      return this.#broken("the first `connected` has an id, where there is a history", data);
    }
    for (const channel of this.channels) {
      this.trails.set(channel, new Trail(this.#positions.get(channel)?.offset ?? 0, machineNow()));
    }
    this.#beginSpans();
  }

  #beginSpans(): void {
    for (const { spans } of this.trails.values()) {
      spans.set(this.#connection, { from: machineNow(), to: Infinity });
    }
  }

  #message(data: string, before: ReadonlyMap<string, Position>, hasId: boolean): void {
    const payload = decodePayload(data);
    const trail = payload === null ? undefined : this.trails.get(payload.channel);
    if (payload === null || trail === undefined) {
      return this.#broken("data comes as it was published, on the client's channels", data.slice(0, 120));
    }
    if (!hasId && !isLive(payload.channel))
      this.#broken("every event of a channel with history has an id", data.slice(0, 80));
    const { channel } = payload;
    const { offset = 0, stamp = 0 } = this.#positions.get(channel) ?? {};
    trail.push(codeOf(payload), offset, this.#connection, stamp);
    this.#expectMoved(before, new Map([[channel, isLive(channel) ? 0 : 1]]), `an event of ${channel}`);
  }

  #gap(data: string, before: ReadonlyMap<string, Position>, hasId: boolean): void {
    this.#gapDue = false;
    const { channels, reason } = JSON.parse(data) as { channels: string[]; reason: string };
    if (this.#isDedicated && reason === "interrupted") {
      this.#broken("a dedicated stream ends with its connection, and is not interrupted", data);
    }
    const isLoss = this.#mayLose && LOSSES.has(reason);
    for (const channel of channels) {
      if (keepsEverything(channel) && !isLoss)
        this.#broken("no gap on a channel that keeps everything", data);
      if (!this.channels.includes(channel)) this.#broken("a gap names channels of the stream", data);
      this.trails.get(channel)?.push(GAP, this.#positions.get(channel)?.offset ?? 0, this.#connection);
      this.#gapped.set(channel, isLoss ? NaN : Infinity);
    }
    if (!hasId) return;
    this.#expectMoved(before, this.#gapped, "a gap");
    this.#gapped.clear();
  }

  #readId(id: string): void {
    const positions = new Map<string, Position>();
    const known = this.#positions;
    for (const { tag, epoch, offset, stamp = 0 } of parseEventId(id) ?? []) {
      const channel = this.#channelOf.get(tag);
      if (channel !== undefined) positions.set(channel, { epoch, offset, stamp });
    }
    if (positions.size < this.#keptChannels.length)
      this.#broken("an id tells the place in every channel", id);
    // Skipped events are reported once and not again for each later id.
    this.#positions = new Map([...known, ...positions]);
  }

  /**
   * An id may move only with its event, so that a client that resumes with it has all earlier events. `steps` has the
   * allowed step of each channel. `Infinity` allows any step forward. `NaN` allows any position, also an earlier one.
   */
  #expectMoved(before: ReadonlyMap<string, Position>, steps: ReadonlyMap<string, number>, by: string): void {
    if (before.size === 0) return;
    for (const [channel, { epoch, offset }] of this.#positions) {
      const known = before.get(channel);
      if (known === undefined) continue;
      // If the channel had no history, the client is before the first event of the new history.
      const old = known.epoch === "" && epoch !== "" ? { epoch, offset: 0 } : known;
      const step = steps.get(channel) ?? 0;
      const moved = offset - old.offset;
      if (Number.isNaN(step)) continue;
      if (epoch === old.epoch && (step === Infinity ? moved >= 0 : moved === step)) continue;
      this.#broken(
        "an id moves with its event only",
        `${by} moves ${channel} from ${old.epoch}:${old.offset} to ${epoch}:${offset}`,
      );
    }
  }

  #remember(what: string): void {
    this.#recent.push(`#${this.#connection} ${what}`);
    if (this.#recent.length > REMEMBERED) this.#recent.shift();
  }

  #broken(rule: string, what: string): void {
    this.#onViolation(
      rule,
      [what, "  the last that came:", ...this.#recent.map((line) => `    ${line}`)].join("\n"),
    );
  }
}
