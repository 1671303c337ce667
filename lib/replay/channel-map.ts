/**
 * Values by channel. It has no `Map` while it has one value, because most streams have one channel, and a `Map` with one
 * entry takes 180 bytes.
 */
export class ChannelMap<Value extends { readonly channel: string }> {
  #only: Value | null = null;
  #all: Map<string, Value> | null = null;

  get size(): number {
    return this.#all?.size ?? (this.#only === null ? 0 : 1);
  }

  get(channel: string): Value | undefined {
    if (this.#all !== null) return this.#all.get(channel);
    return this.#only?.channel === channel ? this.#only : undefined;
  }

  /** Adds a value, or replaces the value of its channel. */
  set(value: Value): void {
    const { channel } = value;
    if (this.#all !== null) this.#all.set(channel, value);
    else if (this.#only === null || this.#only.channel === channel) this.#only = value;
    else {
      this.#all = new Map([
        [this.#only.channel, this.#only],
        [channel, value],
      ]);
      this.#only = null;
    }
  }

  /** Returns false if the channel has no value. */
  delete(channel: string): boolean {
    if (this.#all !== null) return this.#all.delete(channel);
    if (this.#only?.channel !== channel) return false;
    this.#only = null;
    return true;
  }

  /** The values, in the order in which their channels were added. */
  values(): Iterable<Value> {
    return this.#all?.values() ?? (this.#only === null ? [] : [this.#only]);
  }
}
