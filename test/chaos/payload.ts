/** What is published says what it is: so a client knows without any help of the library what it has received. */
export interface Payload {
  readonly channel: string;
  readonly publisher: number;
  /** From 1 upwards, for each publisher and channel. */
  readonly number: number;
}

/** The padding gives a cut somewhere to fall. It has line ends, since a frame has a line for each. */
export function encodePayload({ channel, publisher, number }: Payload, paddingBytes: number): string {
  return `${channel} ${publisher} ${number} ${padding(paddingBytes)}.`;
}

/** `null` for anything that was not published so, or was damaged on its way. */
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

/** Publisher and number as one number: of millions of events that are remembered, that is all there is. */
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
