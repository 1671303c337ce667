import { sizeOf, type BufferedItem } from "../events/inbound-event.js";

/** The array is compacted from this number of removed items on. */
const COMPACT_FROM = 1_024;

/** If more kept items than this come before the next droppable item, one pass drops several items. */
const FEW = 64;

/** A pass that drops several items stops when this share of the limit is left. */
const ENOUGH = 7 / 8;

/** Buffered events in order, with their total size. The session enforces the buffer limit. */
export class FifoBuffer<Item extends BufferedItem> {
  #items: (Item | undefined)[] = [];
  #head = 0;
  #bytes = 0;

  /** The approximate memory use of the items, including a fixed overhead for each. */
  get bytes(): number {
    return this.#bytes;
  }

  push(item: Item): void {
    this.#items.push(item);
    this.#bytes += sizeOf(item);
  }

  /** Removes and returns the oldest item; `undefined` if the buffer is empty. */
  shift(): Item | undefined {
    const item = this.#items[this.#head];
    if (item === undefined) return undefined;
    this.#items[this.#head++] = undefined;
    this.#bytes -= sizeOf(item);
    if (this.#head === this.#items.length) this.clear();
    else if (this.#head >= COMPACT_FROM && this.#head * 2 >= this.#items.length) this.#compact();
    return item;
  }

  get isEmpty(): boolean {
    return this.#head === this.#items.length;
  }

  /** Visits all items, the oldest first. */
  each(visit: (item: Item) => void): void {
    for (let index = this.#head; index < this.#items.length; index++) visit(this.#items[index]!);
  }

  /** Drops the oldest droppable items until at most `maxBytes` are left, or nothing droppable is left. */
  dropOldest(maxBytes: number, isDroppable: (item: Item) => boolean, onDrop: (item: Item) => void): void {
    while (this.#bytes > maxBytes) {
      const index = this.#firstFrom(this.#head, isDroppable);
      if (index < 0) return;
      if (index - this.#head > FEW) return this.#dropMany(maxBytes * ENOUGH, isDroppable, onDrop);
      onDrop(index === this.#head ? this.shift()! : this.#takeOut(index));
    }
  }

  /** Drops items in one pass over all. Drops more than necessary, so that the next events do not cause another pass. */
  #dropMany(enough: number, isDroppable: (item: Item) => boolean, onDrop: (item: Item) => void): void {
    const left: Item[] = [];
    this.each((item) => {
      if (this.#bytes <= enough || !isDroppable(item)) return void left.push(item);
      this.#bytes -= sizeOf(item);
      onDrop(item);
    });
    this.#items = left;
    this.#head = 0;
  }

  #firstFrom(start: number, wanted: (item: Item) => boolean): number {
    for (let index = start; index < this.#items.length; index++) {
      if (wanted(this.#items[index]!)) return index;
    }
    return -1;
  }

  #takeOut(index: number): Item {
    const [item] = this.#items.splice(index, 1);
    this.#bytes -= sizeOf(item!);
    return item!;
  }

  /** Removes the items for which `unwanted` returns true. Returns their number. */
  remove(unwanted: (item: Item) => boolean): number {
    const waiting = this.#items.slice(this.#head).filter((item) => item !== undefined);
    this.clear();
    for (const item of waiting) if (!unwanted(item)) this.push(item);
    return waiting.length - (this.#items.length - this.#head);
  }

  /** Drops all items. Returns their number. */
  clear(): number {
    const dropped = this.#items.length - this.#head;
    this.#items = [];
    this.#head = 0;
    this.#bytes = 0;
    return dropped;
  }

  /** A slow but steady client never empties the buffer. Without this, the array would grow forever. */
  #compact(): void {
    this.#items.splice(0, this.#head);
    this.#head = 0;
  }
}
