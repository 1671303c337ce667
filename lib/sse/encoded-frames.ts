/**
 * Whole frames that are written with one call. A block that goes to many clients is the same object for all of them,
 * and becomes bytes once.
 */
export class EncodedFrames {
  /** The frames, as they are told to the client. */
  readonly text: string;
  readonly #isShared: boolean;
  #byteLength = -1;
  #payload: Buffer | null = null;
  #chunk: Buffer | null = null;

  /** `isShared`: more than one client is to get it. */
  constructor(text: string, isShared = false) {
    this.text = text;
    this.#isShared = isShared;
  }

  /** The length of the text as UTF-8. */
  get byteLength(): number {
    if (this.#byteLength < 0) this.#byteLength = Buffer.byteLength(this.text);
    return this.#byteLength;
  }

  /**
   * What a response is given. Text where nobody else gets the same: Node encodes that on its way into the socket,
   * and a Buffer would be made for nothing.
   */
  get payload(): Buffer | string {
    if (!this.#isShared) return this.text;
    return (this.#payload ??= Buffer.from(this.text));
  }

  /**
   * The same as one chunk of HTTP/1.1's chunked coding (RFC 9112 7.1), for an adapter that writes to the socket
   * itself. The coding costs seven bytes, and nothing per client.
   */
  get chunk(): Buffer | string {
    if (this.#chunk !== null) return this.#chunk;
    // A chunk without bytes would be the last one.
    if (this.text === "") return "";
    const chunk = `${this.byteLength.toString(16)}\r\n${this.text}\r\n`;
    if (!this.#isShared) return chunk;
    return (this.#chunk = Buffer.from(chunk));
  }
}

/** One block of several, in their order. */
export function joinBlocks(blocks: readonly EncodedFrames[]): EncodedFrames {
  if (blocks.length === 1) return blocks[0]!;
  let text = "";
  for (const block of blocks) text += block.text;
  return new EncodedFrames(text);
}
