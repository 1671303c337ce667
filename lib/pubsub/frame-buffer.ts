/** The events that wait for a client to read, in order, with the sum of their bytes. The session bounds it. */
export class FrameBuffer<Item extends { readonly frame: Buffer }> {
  #items: Item[] = [];
  #head = 0;
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  push(item: Item): void {
    this.#items.push(item);
    this.#bytes += item.frame.length;
  }

  /** The oldest, taken out; `undefined` when there is none. */
  shift(): Item | undefined {
    const item = this.#items[this.#head];
    if (item === undefined) return undefined;
    this.#head++;
    this.#bytes -= item.frame.length;
    if (this.#head === this.#items.length) this.clear();
    return item;
  }

  /** Drops everything; answers how many there were. */
  clear(): number {
    const dropped = this.#items.length - this.#head;
    this.#items = [];
    this.#head = 0;
    this.#bytes = 0;
    return dropped;
  }
}
