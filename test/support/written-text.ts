import * as fc from "fast-check";

/** Text full of line ends and of characters that have two UTF-16 units, some of them without their other half. */
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

/** A text, and the chunks that it is written in: cut between any two UTF-16 units. Some chunks are empty. */
export const anyChunks: fc.Arbitrary<readonly string[]> = anyText.chain((text) =>
  fc.array(fc.nat({ max: text.length }), { maxLength: 12 }).map((cuts) => {
    const ends = [...cuts, text.length].toSorted((a, b) => a - b);
    return ends.map((end, index) => text.slice(ends[index - 1] ?? 0, end));
  }),
);

/** The text as readers have it: an event stream ends lines with LF, and UTF-8 has no half of a character. */
export function asRead(text: string): string {
  return Buffer.from(text.replaceAll(/\r\n?/g, "\n")).toString();
}

/** The pieces as a reader joins them. */
export function readerOf(pieces: readonly string[]): string {
  return pieces.map(asRead).join("");
}

/** The bytes of a text on the wire, counted by making its `data:` lines. */
export function wireBytes(text: string): number {
  return Buffer.byteLength(
    text
      .split(/\r\n|\r|\n/)
      .map((line) => `data: ${line}\n`)
      .join(""),
  );
}
