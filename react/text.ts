/** The most characters that a hook keeps of a text. A page could not show more. */
const MAX_LENGTH = 4 * 1024 * 1024;

/** Appends a piece to a text. If the text becomes too long, its start is dropped. */
export function appendText(text: string, piece: string): string {
  const longer = text + piece;
  return longer.length > MAX_LENGTH ? longer.slice(-MAX_LENGTH) : longer;
}
