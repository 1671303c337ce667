import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

import { deferred } from "../support/eventually.js";
import { TcpProxy } from "../support/tcp-proxy.js";
import type { Settled } from "./ledger.js";
import type { Answers, MemberMessage, MemberPlan, MemberRequest, Question } from "./member.js";
import { within } from "./patience.js";

const MEMBER = fileURLToPath(new URL("./member.js", import.meta.url));

/** Number of characters kept of a process's output, for the report. */
const MAX_OUTPUT = 4_000;

export interface MemberHandlers {
  onSettled(settled: Settled): void;
  onTrouble(trouble: string): void;
}

/** A process, controlled from outside. */
class Member {
  readonly port: number;
  /** Resolves when the process has exited. */
  readonly exited: Promise<void>;
  output = "";
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (answer: Answers[Question]) => void>();
  #nextId = 0;

  private constructor(child: ChildProcess, port: number, handlers: MemberHandlers) {
    this.#child = child;
    this.port = port;
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.setEncoding("utf8").on("data", (chunk: string) => {
        this.output = (this.output + chunk).slice(-MAX_OUTPUT);
      });
    }
    child.on("message", (message: MemberMessage) => {
      if ("settled" in message) handlers.onSettled(message.settled);
      else if ("trouble" in message) handlers.onTrouble(message.trouble);
      else if ("id" in message) this.#waiting.get(message.id)?.(message.answer);
    });
    this.exited = once(child, "exit").then(([code]: (number | NodeJS.Signals | null)[]) => {
      if (code !== null && code !== 0) handlers.onTrouble(`it ended with ${code}: ${this.output}`);
    });
  }

  static async start(plan: MemberPlan, handlers: MemberHandlers): Promise<Member> {
    const child = fork(MEMBER, [JSON.stringify(plan)], {
      execArgv: ["--expose-gc"],
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    });
    const [message] = (await once(child, "message")) as [MemberMessage];
    if (!("port" in message)) throw new Error(`a process did not start: ${JSON.stringify(message)}`);
    return new Member(child, message.port, handlers);
  }

  /** Rejects when the process has exited. */
  async ask<Name extends Question>(question: Name, argument: number): Promise<Answers[Name]> {
    const { promise, resolve, reject } = deferred<Answers[Name]>();
    const request: MemberRequest = { id: this.#nextId++, question, argument };
    this.#waiting.set(request.id, resolve as (answer: Answers[Question]) => void);
    void this.exited.then(() => reject(new Error("the process has ended")));
    this.#child.send(request, (error) => error && reject(error));
    return promise.finally(() => this.#waiting.delete(request.id));
  }

  signal(signal: "SIGTERM" | "SIGKILL"): void {
    this.#child.kill(signal);
  }
}

export interface SlotOptions {
  readonly name: string;
  readonly isDedicated: boolean;
  /** Port of the single server behind the proxy. `null` for no proxy. */
  readonly redisPort: number | null;
  /** Publisher ids of each new process. They differ from the ids of the process before. */
  readonly nextPlan: (redisUrl: string | null) => MemberPlan;
  readonly handlers: MemberHandlers;
}

/** A place for one process after another, behind a proxy to Redis. */
export class Slot {
  readonly name: string;
  readonly isDedicated: boolean;
  /** Proxy to Redis. `null` if there are several servers, which clients find by themselves. */
  readonly redis: TcpProxy | null;
  /** Address for clients. It refuses connections while no process runs. */
  port = 0;
  readonly #options: SlotOptions;
  #member: Member | null = null;

  private constructor(options: SlotOptions, redis: TcpProxy | null) {
    this.name = options.name;
    this.isDedicated = options.isDedicated;
    this.#options = options;
    this.redis = redis;
  }

  static async start(options: SlotOptions): Promise<Slot> {
    const { redisPort } = options;
    const slot = new Slot(options, redisPort === null ? null : await TcpProxy.start(redisPort));
    await slot.boot();
    return slot;
  }

  /** Output of the process. */
  get output(): string {
    return this.#member?.output ?? "";
  }

  async boot(): Promise<void> {
    const { handlers, nextPlan } = this.#options;
    this.#member = await Member.start(nextPlan(this.redis?.url ?? null), {
      onSettled: (settled) => handlers.onSettled(settled),
      onTrouble: (trouble) => handlers.onTrouble(`${this.name}: ${trouble}`),
    });
    this.port = this.#member.port;
  }

  /** Stops the process gracefully, or kills it. */
  async end(signal: "SIGTERM" | "SIGKILL", timeoutMs: number): Promise<void> {
    const member = this.#member;
    if (member === null) return;
    this.#member = null;
    member.signal(signal);
    await within(timeoutMs, member.exited).catch(() => {
      this.#options.handlers.onTrouble(`${this.name}: it does not end within ${timeoutMs} ms of ${signal}`);
      member.signal("SIGKILL");
      return member.exited;
    });
  }

  async ask<Name extends Question>(question: Name, argument = 0): Promise<Answers[Name]> {
    if (this.#member === null) throw new Error("there is no process");
    return this.#member.ask(question, argument);
  }

  /** Never rejects. */
  async stop(): Promise<void> {
    await this.end("SIGKILL", 10_000);
    await this.redis?.close();
  }
}
