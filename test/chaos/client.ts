import http from "node:http";
import { setTimeout as pause } from "node:timers/promises";

import type { Chance } from "../soak/chance.js";
import type { Tally } from "../soak/tally.js";
import { EventReader, isEventBlock, type ReceivedEvent } from "../support/event-reader.js";
import { ClientCheck } from "./client-check.js";
import { machineNow } from "./machine-clock.js";

export interface ClientContext {
  readonly ports: readonly number[];
  readonly tally: Tally;
  readonly startedAt: number;
  /** Whether another server may take over that has not received everything. */
  readonly mayLose: boolean;
  onViolation(rule: string, context: string): void;
}

interface Connection {
  readonly app: number;
  readonly openedAt: number;
  readonly lastEventId: string | undefined;
  end: string;
}

/** A client that is sent away for good: an EventSource would not come back. */
const EXPECTED_STATUS = 200;

/** One client: it opens one stream after another, at any of the apps, and says each time where it was. */
export class Client {
  readonly name: string;
  readonly check: ClientCheck;
  readonly #context: ClientContext;
  readonly #chance: Chance;
  readonly #connections: Connection[] = [];
  readonly #stopping = new AbortController();
  #lastEventId: string | undefined;
  #restless = true;
  #request: http.ClientRequest | null = null;
  #leaveTimer: NodeJS.Timeout | undefined;
  #living: Promise<void> = Promise.resolve();

  constructor(name: string, channels: readonly string[], chance: Chance, context: ClientContext) {
    this.name = name;
    this.#chance = chance;
    this.#context = context;
    this.check = new ClientCheck(
      channels,
      (rule, what) => context.onViolation(rule, `${name}: ${what}\n${this.describeConnections()}`),
      context.mayLose,
    );
  }

  start(): void {
    this.#living = this.#live();
  }

  /** From now on it stays where it is, and comes back only when it is sent away. */
  settle(): void {
    this.#restless = false;
    clearTimeout(this.#leaveTimer);
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#request?.destroy();
    await this.#living;
  }

  /** The connections around this one; the last few when none is given. */
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
      await this.#visit();
      const pauseMs = this.#chance.is(0.1) ? this.#chance.between(500, 2_500) : this.#chance.between(20, 400);
      await pause(this.#restless ? pauseMs : 100, undefined, { signal }).catch(() => {});
    }
  }

  /** Resolves when the stream is over, whoever ended it. */
  #visit(): Promise<void> {
    const { ports, tally } = this.#context;
    const app = this.#chance.whole(0, ports.length - 1);
    const connection: Connection = {
      app,
      openedAt: machineNow(),
      lastEventId: this.#lastEventId,
      end: "is open",
    };
    this.#connections.push(connection);
    this.check.open(this.#lastEventId);
    tally.add("connections");
    if (this.#lastEventId !== undefined) tally.add("resumptions");
    return new Promise((resolve) => {
      const request = http.request(this.#url(ports[app]!), { agent: false, headers: this.#headers() });
      this.#request = request;
      const over = (how: string): void => {
        if (connection.end === "is open") connection.end = how;
        clearTimeout(this.#leaveTimer);
        this.check.close();
        resolve();
      };
      request.on("error", () => over("failed"));
      request.on("close", () => over("ended"));
      request.on("response", (response) => this.#read(response, connection));
      request.end();
      // Some leave whether or not they are connected; on a busy machine nobody ever would be, did all of them.
      if (this.#chance.is(0.2)) this.#leaveLater(connection);
    });
  }

  #read(response: http.IncomingMessage, connection: Connection): void {
    const { tally } = this.#context;
    if (response.statusCode !== EXPECTED_STATUS) {
      this.#context.onViolation("every request is answered 200", `${this.name}: ${response.statusCode}`);
    }
    const reader = new EventReader({
      onBlock: (block) => {
        // At once: the next block may be cut off.
        this.#lastEventId = block.id ?? this.#lastEventId;
        this.check.block(block);
        if (isEventBlock(block)) tally.add(labelOf(block));
        if (block.event === "connected") this.#leaveLater(connection);
      },
    });
    response.setEncoding("utf8");
    response.on("data", (text: string) => reader.feed(text));
    response.on("error", () => {});
  }

  #leaveLater(connection: Connection): void {
    if (!this.#restless) return;
    clearTimeout(this.#leaveTimer);
    const afterMs = 8_000 * this.#chance.part() ** 2;
    this.#leaveTimer = setTimeout(() => {
      connection.end = "left";
      this.#request?.destroy();
    }, afterMs);
  }

  #url(port: number): string {
    return `http://127.0.0.1:${port}/stream?channels=${this.check.channels.join(",")}`;
  }

  #headers(): Record<string, string> {
    const asked = { Accept: "text/event-stream" };
    return this.#lastEventId === undefined ? asked : { ...asked, "Last-Event-ID": this.#lastEventId };
  }
}

/** What an event is counted as; faults by what they are. */
function labelOf({ event, data }: ReceivedEvent): string {
  return event === "error" ? `${(JSON.parse(data) as { code: string }).code} told` : `${event} events`;
}
