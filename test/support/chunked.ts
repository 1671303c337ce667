/** The received part of a body in HTTP/1.1 chunked encoding. */
export interface ChunkedBody {
  readonly chunks: readonly Buffer[];
  /** Whether the last chunk and the line after the trailers have arrived. The trailers can be empty. */
  readonly isOver: boolean;
  /** Text after the last complete chunk. */
  readonly rest: Buffer;
}

const CRLF = Buffer.from("\r\n");

/** More digits than any length has. */
const MAX_SIZE_LINE = 16;

/**
 * Reads chunks by RFC 9112 7.1, but stricter: lower-case hexadecimal lengths without leading zeros, only CRLF, no
 * extensions and no trailers. Throws at the first invalid byte.
 */
export function parseChunked(bytes: Buffer): ChunkedBody {
  const chunks: Buffer[] = [];
  for (let at = 0; ;) {
    const unfinished = { chunks, isOver: false, rest: bytes.subarray(at) };
    const lineEnd = bytes.indexOf(CRLF, at);
    const line = bytes.toString("latin1", at, lineEnd < 0 ? bytes.length : lineEnd);
    if (
      line.length > MAX_SIZE_LINE ||
      !(lineEnd < 0 ? /^[0-9a-f]*\r?$/ : /^(0|[1-9a-f][0-9a-f]*)$/).test(line)
    ) {
      throw new Error(`expected the length of a chunk at ${at}, got ${JSON.stringify(line.slice(0, 80))}`);
    }
    if (lineEnd < 0) return unfinished;
    const start = lineEnd + CRLF.length;
    const end = start + Number.parseInt(line, 16);
    const behind = bytes.subarray(end, end + CRLF.length);
    if (!CRLF.subarray(0, behind.length).equals(behind)) {
      throw new Error(
        `expected CRLF behind the chunk at ${at}, got ${JSON.stringify(behind.toString("latin1"))}`,
      );
    }
    if (behind.length < CRLF.length) return unfinished;
    at = end + CRLF.length;
    if (end === start) return { chunks, isOver: true, rest: bytes.subarray(at) };
    chunks.push(bytes.subarray(start, end));
  }
}
