export interface WireHandlers {
  onStatus(status: number): void;
  /** `id` is `null` for an event without one. */
  onEvent(event: string, data: string, id: string | null): void;
  onRetry(milliseconds: number): void;
  onHeartbeat(): void;
  /** The response is complete. */
  onComplete(): void;
  /** Bytes that follow a complete response. */
  onTrailing(text: string): void;
  /** What came is neither HTTP nor an event stream as this library writes them. */
  onGarbage(text: string): void;
}

const HEARTBEAT = ":\n";

/**
 * Reads one HTTP/1.1 response with an event stream, byte for byte and cheaply: it knows what this library and
 * Node write, and takes everything else for a fault. Text is latin1, since all that is published is ASCII.
 */
export class WireReader {
  readonly #handlers: WireHandlers;
  #part: "head" | "chunked" | "sized" | "done" = "head";
  /** Bytes of HTTP that are not understood yet. */
  #pending = "";
  /** An event that is not complete yet. */
  #body = "";
  #bodyLeft = 0;
  #status = 0;

  constructor(handlers: WireHandlers) {
    this.#handlers = handlers;
  }

  get complete(): boolean {
    return this.#part === "done";
  }

  feed(text: string): void {
    if (this.#part === "done") return this.#handlers.onTrailing(text);
    this.#pending += text;
    if (this.#part === "head") this.#readHead();
    if (this.#part === "chunked") this.#readChunks();
    if (this.#part === "sized") this.#readSized();
  }

  #readHead(): void {
    const end = this.#pending.indexOf("\r\n\r\n");
    if (end < 0) return;
    const head = this.#pending.slice(0, end).toLowerCase();
    this.#pending = this.#pending.slice(end + 4);
    this.#status = Number(/^http\/1\.1 (\d{3})/.exec(head)?.[1] ?? 0);
    if (this.#status === 0) this.#handlers.onGarbage(head);
    this.#handlers.onStatus(this.#status);
    this.#bodyLeft = Number(/^content-length: (\d+)$/m.exec(head)?.[1] ?? 0);
    this.#part = /^transfer-encoding: chunked$/m.test(head) ? "chunked" : "sized";
  }

  #readChunks(): void {
    let at = 0;
    for (;;) {
      const lineEnd = this.#pending.indexOf("\r\n", at);
      if (lineEnd < 0) break;
      const size = Number.parseInt(this.#pending.slice(at, lineEnd), 16);
      if (Number.isNaN(size)) return this.#handlers.onGarbage(this.#pending.slice(at, at + 80));
      const end = lineEnd + 2 + size;
      if (this.#pending.length < end + 2) break;
      if (size === 0) return this.#complete(end + 2);
      this.#body += this.#pending.slice(lineEnd + 2, end);
      at = end + 2;
    }
    this.#pending = this.#pending.slice(at);
    this.#readEvents();
  }

  #readSized(): void {
    const body = this.#pending.slice(0, this.#bodyLeft);
    this.#body += body;
    this.#bodyLeft -= body.length;
    if (this.#bodyLeft === 0) this.#complete(body.length);
    else this.#pending = "";
  }

  #complete(at: number): void {
    const trailing = this.#pending.slice(at);
    this.#pending = "";
    this.#part = "done";
    this.#readEvents();
    if (this.#body !== "" && this.#status === 200) this.#handlers.onGarbage(this.#body);
    this.#handlers.onComplete();
    if (trailing !== "") this.#handlers.onTrailing(trailing);
  }

  #readEvents(): void {
    if (this.#status !== 200) return;
    let at = 0;
    for (;;) {
      // A heartbeat is a line of its own, between events.
      for (; this.#body.startsWith(HEARTBEAT, at); at += HEARTBEAT.length) this.#handlers.onHeartbeat();
      const end = this.#body.indexOf("\n\n", at);
      if (end < 0) break;
      this.#readEvent(this.#body.slice(at, end));
      at = end + 2;
    }
    if (at > 0) this.#body = this.#body.slice(at);
  }

  #readEvent(block: string): void {
    let event = "message";
    let data: string | null = null;
    let id: string | null = null;
    for (const line of block.split("\n")) {
      if (line.startsWith("event: ")) event = line.slice(7);
      else if (line.startsWith("data: ")) data = line.slice(6);
      else if (line.startsWith("id: ")) id = line.slice(4);
      else if (line.startsWith("retry: ")) this.#handlers.onRetry(Number(line.slice(7)));
      else this.#handlers.onGarbage(line.slice(0, 80));
    }
    if (data !== null) this.#handlers.onEvent(event, data, id);
  }
}
