import { connect, type Socket } from "node:net";

import type { StreamCheck } from "./stream-check.js";
import type { Tally } from "./tally.js";
import type { Violations } from "./violations.js";
import type { VisitPlan } from "./visit-plan.js";
import { WireReader } from "./wire-reader.js";

export interface VisitContext {
  readonly port: number;
  readonly tally: Tally;
  readonly faultsTold: Tally;
  readonly violations: Violations;
}

/** One life of a client, on a socket of its own. */
export class Visit {
  readonly plan: VisitPlan;
  readonly check: StreamCheck;
  /** Resolves when the socket is closed, whoever did it. */
  readonly over: Promise<void>;
  /** How long the server asked it to stay away. */
  retryMs = 0;
  /** Whether it was the server that ended it. */
  turnedAway = false;
  readonly #context: VisitContext;
  readonly #socket: Socket;
  readonly #reader: WireReader;
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #askedAt = Date.now();
  #left = false;
  #detained = false;
  #wantsToLeave = false;
  #stalled = false;
  #everStalled = false;
  #openedStream = false;

  constructor(context: VisitContext, plan: VisitPlan, check: StreamCheck) {
    this.#context = context;
    this.plan = plan;
    this.check = check;
    this.#reader = this.#createReader();
    this.#socket = connect(context.port, "127.0.0.1");
    this.#socket.on("error", () => {});
    this.#socket.on("data", (chunk: Buffer) => {
      if (!this.#left) this.#reader.feed(chunk);
    });
    this.over = new Promise((resolve) => {
      this.#socket.on("close", () => {
        this.#closed();
        resolve();
      });
    });
    context.tally.add("asked");
    this.#ask();
    this.#later(plan.leaveAfterMs, () => this.#wantToLeave());
    const { stall } = plan;
    if (stall !== null) this.#later(stall.afterMs, () => this.#stall(stall.forMs));
  }

  /** Whether whatever is published now has to reach this client, as long as it stays so. */
  get listens(): boolean {
    return this.check.connected && !this.#left && !this.#stalled && !this.#reader.complete;
  }

  /** From now on it does not leave by itself, until the answer is called: a deaf one is not to slip away. */
  detain(): () => void {
    this.#detained = true;
    return () => {
      this.#detained = false;
      if (this.#wantsToLeave) this.leave();
    };
  }

  #wantToLeave(): void {
    this.#wantsToLeave = true;
    if (!this.#detained) this.leave();
  }

  leave(): void {
    if (this.#left) return;
    this.#left = true;
    this.check.end();
    // One that is being connected, or has been ended from the other side, cannot be reset: Node would never close it.
    const canReset = this.#socket.readyState === "open";
    if (this.plan.leaving === "fin") {
      this.#socket.resume(); // else the other side's own end would never be read
      this.#socket.end();
      // The server closes at that; should it not, this end goes all the same, and what is left there shows.
      this.#later(5_000, () => this.#socket.destroy());
    } else if (this.plan.leaving === "reset" && canReset) {
      this.#socket.resetAndDestroy();
    } else {
      this.#socket.destroy();
    }
  }

  #ask(): void {
    const { asking, channels } = this.plan;
    const request = `GET /stream?channels=${channels.join(",")} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n`;
    const half = request.slice(0, request.length / 2);
    switch (asking) {
      case "plain":
        this.#socket.write(request);
        return;
      case "pipelined":
        this.#socket.write(request.repeat(4));
        return;
      case "half":
        this.#socket.write(half);
        return;
      case "in-halves":
        this.#socket.write(half);
        this.#later(50, () => this.#socket.write(request.slice(half.length)));
    }
  }

  #stall(forMs: number): void {
    if (this.#left) return;
    this.#stalled = this.#everStalled = true;
    this.#socket.pause();
    this.#context.tally.add("stalled");
    if (forMs === Infinity) return;
    this.#later(forMs, () => {
      this.#stalled = false;
      this.#socket.resume();
    });
  }

  #createReader(): WireReader {
    const { tally, faultsTold, violations } = this.#context;
    return new WireReader({
      onStatus: (status) => {
        if (status !== 200) violations.add("every stream is answered 200", `${status}`);
      },
      onEvent: ({ event, data, id = null }) => {
        this.check.event(event, data, id);
        if (event === "message") tally.add("events");
        else if (event === "gap") tally.add("gaps");
        else if (event === "error") faultsTold.add((JSON.parse(data) as { code: string }).code);
        else if (event === "connected") {
          tally.add("streams");
          this.#openedStream = true;
          if (this.plan.asking === "pipelined")
            violations.add("a connection with pipelined requests gets no stream", this.check.name);
        }
      },
      onRetry: (milliseconds) => (this.retryMs = milliseconds),
      onHeartbeat: () => tally.add("heartbeats"),
      onComplete: () => {
        if (!this.check.wasToldWhy)
          violations.add("a stream ends with `closing` or `error`", "it just ended");
        this.check.end();
        this.turnedAway = true;
        tally.add("ended by the server");
      },
      onTrailing: (text) => violations.add("nothing follows the end", text.slice(0, 80)),
      onGarbage: (text) => violations.add("what comes is HTTP and an event stream", text.slice(0, 80)),
    });
  }

  #closed(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    if (!this.#left && !this.#reader.complete && this.plan.asking !== "half") {
      const { tally, violations } = this.#context;
      const isPipelined = this.plan.asking === "pipelined";
      // Whoever stalls may be given up without a word.
      const when = this.#everStalled ? "cut while or after stalling" : "cut while reading";
      tally.add(isPipelined ? "cut for pipelining" : when);
      if (!isPipelined && !this.#everStalled && !this.#openedStream) {
        const asMs = Date.now() - this.#askedAt;
        const state = this.check.wasToldWhy ? "was told why" : "was told nothing";
        violations.add("whoever asks is answered", `${this.check.name} ${state}, after ${asMs} ms`);
      }
      this.turnedAway = true;
    }
    this.#left = true;
    this.check.end();
  }

  #later(delayMs: number, action: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, delayMs);
    this.#timers.add(timer);
  }
}
