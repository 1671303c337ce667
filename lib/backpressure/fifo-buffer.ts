import { sizeOf, type BufferedItem } from "../events/inbound-event.js";

/** From how many read items on the array is compacted. */
const COMPACT_FROM = 1_024;

/** So many that stay are passed over for each that is dropped. */
const FEW = 64;

/** To which part of the bound is dropped where that takes a pass over all. */
const ENOUGH = 7 / 8;

/** The events that wait for a client to read, in order, with the sum of their bytes. The session bounds it. */
export class FifoBuffer<Item extends BufferedItem> {
  #items: (Item | undefined)[] = [];
  #head = 0;
  #bytes = 0;

  /** The memory that they take, about: an event of one byte is not free. */
  get bytes(): number {
    return this.#bytes;
  }

  push(item: Item): void {
    this.#items.push(item);
    this.#bytes += sizeOf(item);
  }

  /** The oldest, taken out; `undefined` when there is none. */
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

  /** All that wait, the oldest first. */
  each(visit: (item: Item) => void): void {
    for (let index = this.#head; index < this.#items.length; index++) visit(this.#items[index]!);
  }

  /** Takes out the oldest that may be dropped until at most `maxBytes` are left, as far as that goes. */
  dropOldest(maxBytes: number, isDroppable: (item: Item) => boolean, onDrop: (item: Item) => void): void {
    while (this.#bytes > maxBytes) {
      const index = this.#firstFrom(this.#head, isDroppable);
      if (index < 0) return;
      if (index - this.#head > FEW) return this.#dropMany(maxBytes * ENOUGH, isDroppable, onDrop);
      onDrop(index === this.#head ? this.shift()! : this.#takeOut(index));
    }
  }

  /** Goes through all once, and drops more than has to be, so that it is not done for each event that comes. */
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

  /** Takes out those that `unwanted` names; answers how many there were. */
  remove(unwanted: (item: Item) => boolean): number {
    const waiting = this.#items.slice(this.#head).filter((item) => item !== undefined);
    this.clear();
    for (const item of waiting) if (!unwanted(item)) this.push(item);
    return waiting.length - (this.#items.length - this.#head);
  }

  /** Drops everything; answers how many there were. */
  clear(): number {
    const dropped = this.#items.length - this.#head;
    this.#items = [];
    this.#head = 0;
    this.#bytes = 0;
    return dropped;
  }

  /** A reader that is slow but steady never empties the buffer: what it has read must not stay all the same. */
  #compact(): void {
    this.#items.splice(0, this.#head);
    this.#head = 0;
  }
}
