import { sizeOf, type BufferedItem } from "../events/inbound-event.js";

/** Buffered events in the order of their arrival. For each key, only the newest event is kept. */
export class ConflatingBuffer<Item extends BufferedItem> {
  readonly #items = new Map<string | symbol, Item>();
  #oldest = this.#items.entries();
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  get isEmpty(): boolean {
    return this.#items.size === 0;
  }

  /** Adds an item. Returns the item that it replaces. */
  push(item: Item, key: string | symbol): Item | undefined {
    const replaced = this.#items.get(key);
    if (replaced !== undefined) this.#delete(key, replaced);
    this.#items.set(key, item);
    this.#bytes += sizeOf(item);
    return replaced;
  }

  shift(): Item | undefined {
    // The iterator is kept between calls, because a new one would first pass all deleted entries.
    let next = this.#oldest.next();
    if (next.done) {
      this.#oldest = this.#items.entries();
      next = this.#oldest.next();
    }
    if (next.done) return undefined;
    const [key, item] = next.value;
    this.#delete(key, item);
    return item;
  }

  /** Visits all items, the oldest first. */
  each(visit: (item: Item) => void): void {
    for (const item of this.#items.values()) visit(item);
  }

  /** See `FifoBuffer.dropOldest()`. */
  dropOldest(maxBytes: number, isDroppable: (item: Item) => boolean, onDrop: (item: Item) => void): void {
    if (this.#bytes <= maxBytes) return;
    for (const [key, item] of this.#items) {
      if (this.#bytes <= maxBytes) return;
      if (!isDroppable(item)) continue;
      this.#delete(key, item);
      onDrop(item);
    }
  }

  remove(unwanted: (item: Item) => boolean): number {
    const before = this.#items.size;
    for (const [key, item] of this.#items) if (unwanted(item)) this.#delete(key, item);
    return before - this.#items.size;
  }

  clear(): number {
    const dropped = this.#items.size;
    this.#items.clear();
    this.#bytes = 0;
    return dropped;
  }

  #delete(key: string | symbol, item: Item): void {
    this.#items.delete(key);
    this.#bytes -= sizeOf(item);
  }
}
