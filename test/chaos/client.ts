import { setMaxListeners } from "node:events";
import { connect, type Socket } from "node:net";
import { setTimeout as pause } from "node:timers/promises";

import { deferred } from "../support/eventually.js";
import type { Chance } from "./chance.js";
import { LOUD_CHANNEL } from "./channels.js";
import { ClientCheck } from "./client-check.js";
import { machineNow } from "./patience.js";
import { isEventBlock, type ReceivedBlock } from "../support/event-reader.js";
import { StreamReader } from "./stream-reader.js";
import type { Tally } from "./tally.js";
import { planVisit, type VisitPlan } from "./visit-plan.js";

export interface ClientContext {
  readonly apps: readonly { readonly port: number; readonly isDedicated: boolean }[];
  readonly tally: Tally;
  readonly startedAt: number;
  /** Whether a server can be promoted that lacks some events. */
  readonly mayLose: boolean;
  /**
   * True if the app lives through the run and streams are not cut. Then clients may behave badly, and each end must
   * have a reason.
   */
  readonly isSteady: boolean;
  readonly onViolation: (rule: string, context: string) => void;
}

interface Connection {
  readonly app: number;
  readonly openedAt: number;
  readonly lastEventId: string | undefined;
  end: string;
}

/** One client. It opens one stream after another on any of the apps, and resumes each time. */
export class Client {
  readonly name: string;
  readonly check: ClientCheck;
  readonly #context: ClientContext;
  readonly #chance: Chance;
  readonly #isLoud: boolean;
  readonly #connections: Connection[] = [];
  #stopping = new AbortController();
  #lastEventId: string | undefined;
  #visit: Visit | null = null;
  /** Whether the client leaves by itself and reconnects. */
  #isRestless = true;
  /** The client waits for this before it reconnects. */
  #gate: Promise<unknown> = Promise.resolve();
  #letIn: () => void = () => {};
  #living: Promise<void> = Promise.resolve();

  constructor(name: string, channels: readonly string[], chance: Chance, context: ClientContext) {
    this.name = name;
    this.#chance = chance;
    this.#context = context;
    this.#isLoud = channels.includes(LOUD_CHANNEL);
    this.check = new ClientCheck(
      channels,
      (rule, what) => context.onViolation(rule, `${name}: ${what}\n${this.describeConnections()}`),
      context.mayLose,
    );
  }

  /** The current visit if it receives events now. */
  get listening(): Visit | null {
    return this.#visit?.listens ? this.#visit : null;
  }

  start(): void {
    this.#stopping = new AbortController();
    setMaxListeners(0, this.#stopping.signal);
    this.#living = this.#live();
  }

  /** From now on, the client stays connected and reconnects only if the server closes the stream. */
  settle(): void {
    this.#isRestless = false;
  }

  /** The client leaves by its plan again. If the time has already passed, it leaves at once. */
  unsettle(): void {
    this.#isRestless = true;
    if (this.#visit?.isDue) this.#visit.leave();
  }

  /** From now on, the client does not connect until `letIn()`. A full pool or a busy app can recover in this time. */
  keepAway(): void {
    const gate = deferred();
    this.#gate = gate.promise;
    this.#letIn = gate.resolve;
  }

  letIn(): void {
    this.#letIn();
  }

  /** Cuts the connection after this many more bytes, which can be inside an event. */
  cutAfter(bytes: number): void {
    this.#visit?.cutAfter(bytes);
  }

  /** Leaves as planned. Resolves when the socket is closed. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#letIn();
    this.#visit?.leave();
    await this.#living;
  }

  /** Describes the connections around this one. Defaults to the last ones. */
  describeConnections(until: number = this.#connections.length - 1): string {
    const from = Math.max(0, until - 3);
    const lines = this.#connections
      .slice(from, until + 2)
      .map(({ app, openedAt, lastEventId, end }, index) => {
        const seconds = ((openedAt - this.#context.startedAt) / 1_000).toFixed(2);
        return `    connection ${from + index}  at ${seconds} s  app ${app}  ${end}  asked with ${lastEventId ?? "nothing"}`;
      });
    return [`  ${this.name} of ${this.check.channels.join(",")}:`, ...lines].join("\n");
  }

  async #live(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const { apps, isSteady } = this.#context;
      const habits = { apps: apps.length, isRude: isSteady, isLoud: this.#isLoud };
      const plan = planVisit(this.#chance, habits);
      const pauseMs = await this.#visitOnce(plan);
      await pause(pauseMs, undefined, { signal }).catch(() => {});
      await this.#gate;
    }
  }

  /** Makes one visit. Returns the delay before the next one. */
  async #visitOnce(plan: VisitPlan): Promise<number> {
    const { tally, apps } = this.#context;
    const { port, isDedicated } = apps[plan.app]!;
    const connection: Connection = {
      app: plan.app,
      openedAt: machineNow(),
      lastEventId: this.#lastEventId,
      end: "is open",
    };
    this.#connections.push(connection);
    this.check.open(this.#lastEventId, isDedicated);
    tally.add("connections");
    if (this.#lastEventId !== undefined) tally.add("resumptions");
    const visit = new Visit({
      plan,
      port,
      lastEventId: this.#lastEventId,
      check: this.check,
      context: this.#context,
      // Stored at once, because the next block can be cut off.
      onId: (id) => (this.#lastEventId = id),
      onDue: () => {
        if (this.#isRestless) this.#visit?.leave();
      },
    });
    this.#visit = visit;
    await visit.over;
    this.#visit = null;
    connection.end = visit.end;
    if (visit.retryMs === null) return this.#isRestless ? plan.pauseMs : 100;
    return plan.isHasty ? 0 : visit.retryMs;
  }
}

interface VisitOptions {
  readonly plan: VisitPlan;
  readonly port: number;
  readonly lastEventId: string | undefined;
  readonly check: ClientCheck;
  readonly context: ClientContext;
  readonly onId: (id: string | undefined) => void;
  /** Whether the planned time to leave has come. */
  readonly onDue: () => void;
}

/** One stream of a client on a separate socket. */
class Visit {
  /** Resolves when either side has closed the socket. */
  readonly over: Promise<void>;
  /** How the stream ended, as text. */
  end = "was cut";
  /** Whether the planned time to leave has come. */
  isDue = false;
  readonly #options: VisitOptions;
  readonly #socket: Socket;
  readonly #reader: StreamReader;
  readonly #timers = new Set<NodeJS.Timeout>();
  /** Bytes until the connection is cut. */
  #bytesLeft = Infinity;
  #left = false;
  #stalled = false;
  #everStalled = false;
  #openedStream = false;

  constructor(options: VisitOptions) {
    this.#options = options;
    this.#reader = this.#createReader();
    this.#socket = connect(options.port, "127.0.0.1");
    this.#socket.on("error", () => {});
    this.#socket.on("data", (chunk) => this.#read(chunk));
    this.over = new Promise((resolve) => {
      this.#socket.on("close", () => {
        this.#closed();
        resolve();
      });
    });
    this.#ask();
    const { patienceMs, stall } = options.plan;
    this.#later(patienceMs, () => this.#due());
    if (stall !== null) this.#later(stall.afterMs, () => this.#stall(stall.forMs));
  }

  get listens(): boolean {
    return this.#options.check.live && !this.#left && !this.#stalled;
  }

  /** Retry delay from the server that ended the stream. `null` if the server did not end it. */
  get retryMs(): number | null {
    return this.#reader.complete ? this.#reader.retryMs : null;
  }

  cutAfter(bytes: number): void {
    this.#bytesLeft = Math.min(this.#bytesLeft, Math.ceil(bytes));
  }

  leave(): void {
    if (this.#left) return;
    this.#left = true;
    this.end = "left";
    this.#options.check.close();
    // Do not reset a connecting or half-closed socket, because Node would then never close it.
    const canReset = this.#socket.readyState === "open";
    const { leaving } = this.#options.plan;
    if (leaving === "fin") {
      this.#socket.resume(); // otherwise the server's end would never be read
      this.#socket.end();
      // The server closes after that. If it does not, this side closes anyway, and the leak is detected on the
      // server.
      this.#later(5_000, () => this.#socket.destroy());
    } else if (leaving === "reset" && canReset) {
      this.#socket.resetAndDestroy();
    } else {
      this.#socket.destroy();
    }
  }

  #read(chunk: Buffer): void {
    if (this.#left) return;
    this.#reader.feed(chunk.subarray(0, this.#bytesLeft));
    this.#bytesLeft -= chunk.length;
    if (this.#bytesLeft <= 0) this.#socket.destroy();
  }

  #due(): void {
    this.isDue = true;
    this.#options.onDue();
  }

  #ask(): void {
    const { plan, lastEventId, check } = this.#options;
    const headers = ["Host: localhost", "Accept: text/event-stream"];
    if (lastEventId !== undefined) headers.push(`Last-Event-ID: ${lastEventId}`);
    const start = `GET /stream?channels=${check.channels.join(",")} HTTP/1.1`;
    const request = `${[start, ...headers].join("\r\n")}\r\n\r\n`;
    if (plan.asking === "plain") return void this.#socket.write(request);
    if (plan.asking === "pipelined") return void this.#socket.write(request.repeat(4));
    const half = request.slice(0, request.length / 2);
    this.#socket.write(half);
    if (plan.asking === "in-halves") this.#later(50, () => this.#socket.write(request.slice(half.length)));
  }

  #stall(forMs: number): void {
    if (this.#left) return;
    this.#stalled = this.#everStalled = true;
    this.#socket.pause();
    this.#options.check.pause();
    this.#options.context.tally.add("stalled");
    this.#later(forMs, () => {
      this.#stalled = false;
      this.#options.check.resume();
      this.#socket.resume();
    });
  }

  #createReader(): StreamReader {
    const { check, context, lastEventId, onId } = this.#options;
    const { tally, onViolation } = context;
    const reader = new StreamReader(lastEventId, {
      onStatus: (status) => {
        if (status !== 200) onViolation("every request is answered 200", `${status}`);
      },
      onBlock: (block) => {
        onId(reader.lastEventId);
        check.block(block);
        this.#count(block);
      },
      onHeartbeat: () => tally.add("heartbeats"),
      onComplete: () => {
        if (!check.wasToldWhy)
          onViolation("a stream ends with `closing` or `error`", check.channels.join(","));
        this.end = "was ended";
        check.close();
        tally.add("ended by the server");
      },
      onTrailing: (text) => onViolation("nothing follows the end", text.slice(0, 80)),
      onGarbage: (text) => onViolation("what comes is HTTP and an event stream", text.slice(0, 80)),
    });
    return reader;
  }

  #count(block: ReceivedBlock): void {
    if (!isEventBlock(block)) return;
    const { event: type, data } = block;
    const { plan, context } = this.#options;
    const { tally } = context;
    if (type === "error") tally.add(`${(JSON.parse(data) as { code: string }).code} told`);
    else tally.add(`${type} events`);
    if (type !== "connected") return;
    this.#openedStream = true;
    if (plan.asking === "pipelined") {
      context.onViolation("a connection with pipelined requests gets no stream", `app ${plan.app}`);
    }
    this.#later(plan.stayMs, () => this.#due());
  }

  #closed(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    const { check, context, plan } = this.#options;
    if (context.isSteady && !this.#left && !this.#reader.complete && plan.asking !== "half") {
      // The service may close a stalled client without an event.
      const when = this.#everStalled ? "cut while or after stalling" : "cut while reading";
      context.tally.add(plan.asking === "pipelined" ? "cut for pipelining" : when);
      if (plan.asking !== "pipelined" && !this.#everStalled && !this.#openedStream) {
        const state = check.wasToldWhy ? "was told why" : "was told nothing";
        context.onViolation("whoever asks is answered", `${check.channels.join(",")} ${state}`);
      }
    }
    this.#left = true;
    check.close();
  }

  #later(delayMs: number, action: () => void): void {
    if (delayMs === Infinity) return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, delayMs);
    this.#timers.add(timer);
  }
}
