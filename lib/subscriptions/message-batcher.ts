/** Messages of one channel that came one right behind the other. */
export interface MessageRun<Channel> {
  readonly channel: Channel;
  readonly messages: readonly string[];
}

/** Above this they are passed on at once: the turn of a server that sends without a pause may be long. */
const MAX_LENGTH = 256 * 1024;

/**
 * The messages of one turn of the event loop. Redis sends many at a time; passed on together, they cost each client one
 * write. They wait for the end of the turn, which follows at once, and never for a timer.
 */
export class MessageBatcher<Channel> {
  readonly #onTurn: (runs: readonly MessageRun<Channel>[]) => void;
  #runs: { readonly channel: Channel; readonly messages: string[] }[] = [];
  #length = 0;
  #end: NodeJS.Immediate | null = null;

  constructor(onTurn: (runs: readonly MessageRun<Channel>[]) => void) {
    this.#onTurn = onTurn;
  }

  add(channel: Channel, message: string): void {
    const last = this.#runs[this.#runs.length - 1];
    if (last?.channel === channel) last.messages.push(message);
    else this.#runs.push({ channel, messages: [message] });
    this.#length += message.length;
    if (this.#length > MAX_LENGTH) this.flush();
    else this.#end ??= setImmediate(this.#flush);
  }

  /** Passes on what has come so far: something is about to happen that it came before. */
  flush(): void {
    if (this.#runs.length === 0) return;
    const runs = this.#runs;
    this.clear();
    this.#onTurn(runs);
  }

  clear(): void {
    if (this.#end !== null) clearImmediate(this.#end);
    this.#end = null;
    this.#runs = [];
    this.#length = 0;
  }

  readonly #flush = (): void => this.flush();
}
