import type { RedisClient } from "../../lib/redis/client.js";

/** One epoch of a channel's history. It ends when the server loses the history. */
export interface Life {
  readonly epoch: string;
  /** The first event that is still in the history. */
  base: number;
  top: number;
  ending: "completed" | "broken" | "";
  finite: boolean;
}

interface AskedRead {
  readonly channel: string;
  readonly args: readonly string[];
  /** Answers of the server that have not arrived yet. */
  reply: readonly string[] | null;
  resolve(reply: readonly string[]): void;
  reject(error: Error): void;
}

/** How the history of a channel is ended. */
export type EndingEvent = "completed" | "silent" | "broken";

/** Time of the server's clock. It never changes. */
const NOW = "1000";

/** Larger than the maximum size of an event. */
export const OVERSIZE = 1_500;

/**
 * Histories of a scripted Redis, behind a client for the real reader. The test decides when a read is executed, when
 * its answer arrives and when it fails. Reads of one channel are executed in order, as on a single server. The text
 * of an event follows from its position, so that each event can be identified.
 */
export class ScriptedLog {
  readonly #lives = new Map<string, Life[]>();
  readonly #lost = new Set<string>();
  readonly #asked = new Map<string, AskedRead[]>();
  #epochs = 0;
  #connections = 0;
  /** Number of reads. */
  reads = 0;

  /** A connection for one reader. Its reads are executed in order, independently of other connections. */
  connect(): RedisClient {
    const connection = this.#connections++;
    const redisSseReadLog = (_position: string, _log: string, ...args: (string | number)[]) =>
      new Promise<readonly string[]>((resolve, reject) => {
        const texts = args.map(String);
        const channel = texts[5]!;
        const key = `${connection} ${channel}`;
        const queue = this.#asked.get(key) ?? [];
        this.#asked.set(key, queue);
        queue.push({ channel, args: texts, reply: null, resolve, reject });
        this.reads++;
      });
    return { status: "ready", redisSseReadLog } as unknown as RedisClient;
  }

  /** All epochs of a channel, the newest last. */
  livesOf(channel: string): readonly Life[] {
    return this.#lives.get(channel) ?? [];
  }

  /** The current history, or `null` if the channel has none. */
  current(channel: string): Life | null {
    return this.#lost.has(channel) ? null : (this.livesOf(channel).at(-1) ?? null);
  }

  /** Appends an event. Returns its Redis message, or `null` if the channel is complete. */
  publish(
    channel: string,
    { finite = false, ending }: { finite?: boolean; ending?: EndingEvent } = {},
  ): string | null {
    const life = this.current(channel) ?? this.#begin(channel, this.#newEpoch());
    if (life.ending !== "") return null;
    life.top++;
    life.finite ||= finite || ending !== undefined;
    if (ending !== undefined) life.ending = ending === "broken" ? "broken" : "completed";
    const data = ending === "silent" || ending === "broken" ? "" : dataOf(channel, life.epoch, life.top);
    const place = `${life.epoch} ${entryIdOf(life.top)}${life.ending === "" ? "" : ` ${life.ending}`}`;
    if (data === "") this.#silent.add(`${life.epoch} ${life.top}`);
    return `\u001esse1\n${place}\n\n${data}`;
  }

  readonly #silent = new Set<string>();

  /** Whether the entry at this position is an end without an event. */
  isSilentEnd(channel: string, epoch: string, offset: number): boolean {
    const life = this.livesOf(channel).find((each) => each.epoch === epoch);
    return life?.ending === "completed" && life.top === offset && this.#silent.has(`${epoch} ${offset}`);
  }

  /** Removes the oldest events. The position stays. */
  trim(channel: string, count: number): void {
    const life = this.current(channel);
    if (life !== null) life.base = Math.min(life.base + count, life.top + 1);
  }

  /** Removes the history and its metadata. */
  flush(channel: string): void {
    if (this.current(channel) !== null) this.#lost.add(channel);
  }

  get asked(): number {
    return [...this.#asked.values()].reduce((sum, queue) => sum + queue.length, 0);
  }

  /** Executes the next read of a channel. Returns false if no read waits. */
  execute(chance: number): boolean {
    const waiting = this.#heads(({ reply }) => reply === null);
    const read = waiting[chance % Math.max(1, waiting.length)];
    if (read === undefined) return false;
    read.reply = this.#replyTo(read);
    return true;
  }

  /** Delivers the oldest answer of a channel. Executes the read first if needed. Returns false if no read waits. */
  answer(chance: number): boolean {
    const read = this.#takeOldest(chance);
    read?.resolve(read.reply ?? this.#replyTo(read));
    return read !== null;
  }

  /** Rejects the oldest read of a channel, executed or not. */
  fail(chance: number, error: Error): boolean {
    const read = this.#takeOldest(chance);
    read?.reject(error);
    return read !== null;
  }

  #takeOldest(chance: number): AskedRead | null {
    const queues = [...this.#asked.values()].filter((queue) => queue.length > 0);
    return queues[chance % Math.max(1, queues.length)]?.shift() ?? null;
  }

  /** Returns the first read of each channel that satisfies `wanted`. */
  #heads(wanted: (read: AskedRead) => boolean): readonly AskedRead[] {
    return [...this.#asked.values()].flatMap((queue) => queue.find(wanted) ?? []);
  }

  #replyTo({ channel, args }: AskedRead): readonly string[] {
    const [epoch = "", afterText, countText, bytesText] = args;
    const separator = args[7]!;
    const life = this.current(channel);
    if (life === null) return ["", "", "0", "", "", "1", NOW, "", ""];
    const first = String(life.base);
    const reply = [
      "",
      life.epoch,
      String(life.top),
      life.ending,
      life.finite ? "1" : "",
      first,
      NOW,
      stampOf(life.top),
    ];
    const found: string[] = [];
    if (epoch !== life.epoch) return [...reply, ""];
    let bytes = 0;
    const end = Math.min(life.top, Math.max(Number(afterText), life.base - 1) + Number(countText));
    for (let offset = Math.max(Number(afterText) + 1, life.base); offset <= end; offset++) {
      const silent = this.#silent.has(`${life.epoch} ${offset}`);
      const data = silent ? "" : dataOf(channel, life.epoch, offset);
      found.push(`${entryIdOf(offset)} ${offset === life.top ? life.ending : ""} `, data);
      bytes += data.length;
      if (bytes >= Number(bytesText)) break;
    }
    return [...reply, found.join(separator)];
  }

  #begin(channel: string, epoch: string): Life {
    const life: Life = { epoch, base: 1, top: 0, ending: "", finite: false };
    this.#lives.set(channel, [...this.livesOf(channel), life]);
    this.#lost.delete(channel);
    return life;
  }

  /** For a history that starts with an event. */
  #newEpoch(): string {
    return (0xe0000000 + this.#epochs++).toString(16);
  }
}

function stampOf(offset: number): string {
  return offset === 0 ? "" : String(1_000_000 + offset);
}

function entryIdOf(offset: number): string {
  return `${offset}-${stampOf(offset - 1)}${stampOf(offset)}`;
}

/** Data of the event at a position. Some events are too large to be sent. */
export function dataOf(channel: string, epoch: string, offset: number): string {
  const padding = isOversize(offset) ? OVERSIZE : (offset * 37) % 150;
  return `${channel}/${epoch}/${offset}/${"x".repeat(padding)}`;
}

export function isOversize(offset: number): boolean {
  return offset % 11 === 10;
}
