// What a terminal may act on, or take for the end of a line, and what JSON leaves as it is.
const FORGING = /[\u007f-\u009f\u2028\u2029]/g;

/** A name in quotes, for a line of a log. Control characters are escaped, so that no name can forge a line. */
export function quote(name: string): string {
  return JSON.stringify(name).replace(
    FORGING,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
