/** Finds a byte position in the block of an event. */
export type PositionInBlock = (block: string) => number;

/** The data of the event that is cut. */
export const CUT_DATA = "first line\nsecond line ü";

/** Places in the block of an event with `CUT_DATA`. If the connection breaks there, no client may lose the event. */
export const SAFE_CUTS: Readonly<Record<string, PositionInBlock>> = {
  "in the event line": (block) => block.indexOf("event: ") + 9,
  "in a data line": (block) => block.indexOf("data: ") + 9,
  "between two data lines": (block) => block.indexOf("data: second"),
  "in a character": (block) => block.indexOf("\u00c3") + 1, // After the first of the two bytes of "ü".
  "between the data and the id line": (block) => block.indexOf("id: "),
  "in the id line": (block) => block.indexOf("id: ") + 8,
  "before the end of the id line": (block) => block.indexOf("\n", block.indexOf("id: ")),
};

/** The id line is complete, the event is not. */
export const BEFORE_BLANK_LINE: PositionInBlock = (block) => block.length - 1;

/** Returns a function for `TcpProxy.cutInReply()` that finds a position in the block that contains `marker`. */
export function inBlockWith(marker: string, position: PositionInBlock): (reply: Buffer) => number {
  return (reply) => {
    const text = reply.toString("latin1"); // One character for each byte.
    const at = text.indexOf(marker);
    if (at < 0) return -1;
    // A block starts after another block or, after CRLF, at the start of an HTTP chunk.
    const start = /(?:\n\n|\r\n)(?!.*(?:\n\n|\r\n))/s.exec(text.slice(0, at));
    const from = start === null ? 0 : start.index + 2;
    return from + position(text.slice(from, text.indexOf("\n\n", at) + 2));
  };
}
