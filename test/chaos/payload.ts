/** The data of an event identifies it, so that clients recognize it without the library. */
export interface Payload {
  readonly channel: string;
  readonly publisher: number;
  /** A number from 1 for each publisher and channel. */
  readonly number: number;
}

/**
 * The padding makes events longer, so that cuts can hit them. It has line ends, because each line becomes a `data:`
 * line.
 */
export function encodePayload({ channel, publisher, number }: Payload, paddingBytes: number): string {
  return `${channel} ${publisher} ${number} ${padding(paddingBytes)}.`;
}

/** Returns `null` for data that was not published here or is damaged. */
export function decodePayload(data: string): Payload | null {
  const [, channel, publisher, number, filling] = /^(\S+) (\d+) (\d+) ([x\n]*)\.$/.exec(data) ?? [];
  if (channel === undefined || filling !== padding(filling!.length)) return null;
  return { channel, publisher: Number(publisher), number: Number(number) };
}

function padding(bytes: number): string {
  const line = `${"x".repeat(99)}\n`;
  return line.repeat(Math.ceil(bytes / line.length)).slice(0, bytes);
}

const NUMBERS = 2 ** 24;

/** Publisher and number in a single number. This saves memory, because millions of events are kept. */
export function codeOf({ publisher, number }: Omit<Payload, "channel">): number {
  return publisher * NUMBERS + number;
}

export function publisherOf(code: number): number {
  return Math.floor(code / NUMBERS);
}

export function numberOf(code: number): number {
  return code % NUMBERS;
}

export function nameOf(code: number): string {
  return `p${publisherOf(code)}#${numberOf(code)}`;
}
