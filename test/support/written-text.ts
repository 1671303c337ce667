import * as fc from "fast-check";

/** Text with many line ends and surrogate pairs. Some pairs are incomplete. */
export const anyText: fc.Arbitrary<string> = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        "\r",
        "\n",
        "\r\n",
        "😀",
        "\ud83d",
        "\ude00",
        "é",
        "€",
        "a",
        " ",
        "data: ",
        "\0",
        "\ufeff",
      ),
      fc.string({ unit: "binary", maxLength: 5 }),
    ),
    { maxLength: 40 },
  )
  .map((parts) => parts.join(""));

/** A text and the chunks in which it is written. Chunks are cut between any two UTF-16 units. Some are empty. */
export const anyChunks: fc.Arbitrary<readonly string[]> = anyText.chain((text) =>
  fc.array(fc.nat({ max: text.length }), { maxLength: 12 }).map((cuts) => {
    const ends = [...cuts, text.length].toSorted((a, b) => a - b);
    return ends.map((end, index) => text.slice(ends[index - 1] ?? 0, end));
  }),
);

/** The text as clients receive it. An event stream has LF as line end, and UTF-8 cannot encode half of a pair. */
export function asRead(text: string): string {
  return Buffer.from(text.replaceAll(/\r\n?/g, "\n")).toString();
}

/** The pieces, joined as a client joins them. */
export function readerOf(pieces: readonly string[]): string {
  return pieces.map(asRead).join("");
}

/** Size of a text on the wire in bytes, computed from its `data:` lines. */
export function wireBytes(text: string): number {
  return Buffer.byteLength(
    text
      .split(/\r\n|\r|\n/)
      .map((line) => `data: ${line}\n`)
      .join(""),
  );
}
