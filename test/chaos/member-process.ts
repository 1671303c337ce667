import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

import { deferred } from "../support/eventually.js";
import type { MemberMessage, MemberOrder, MemberPlan, Settled } from "./member-protocol.js";

const MEMBER = fileURLToPath(new URL("./member.js", import.meta.url));

/** Of what a process prints, the last characters are kept for the report. */
const MAX_OUTPUT = 2_000;

export interface MemberHandlers {
  onSettled(settled: Settled): void;
  onTrouble(trouble: string): void;
}

/** A process of the cluster, seen from outside. */
export class MemberProcess {
  readonly port: number;
  /** Resolves with its exit code, or the signal that ended it. */
  readonly exited: Promise<number | NodeJS.Signals>;
  readonly #child: ChildProcess;
  readonly #quiet = deferred();
  readonly #status = deferred<unknown>();
  #hasExited = false;

  private constructor(child: ChildProcess, port: number, handlers: MemberHandlers) {
    this.#child = child;
    this.port = port;
    let output = "";
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.setEncoding("utf8").on("data", (chunk: string) => {
        output = (output + chunk).slice(-MAX_OUTPUT);
      });
    }
    child.on("message", (message: MemberMessage) => {
      if (message.type === "settled") handlers.onSettled(message.settled);
      else if (message.type === "trouble") handlers.onTrouble(message.trouble);
      else if (message.type === "quiet") this.#quiet.resolve();
      else if (message.type === "status") this.#status.resolve(message.status);
    });
    this.exited = once(child, "exit").then(([code, signal]: (number | NodeJS.Signals | null)[]) => {
      this.#hasExited = true;
      this.#quiet.resolve();
      this.#status.resolve("it has ended");
      if (code !== null && code !== 0) handlers.onTrouble(`it ended with ${code}: ${output}`);
      return code ?? signal!;
    });
  }

  static async start(plan: MemberPlan, handlers: MemberHandlers): Promise<MemberProcess> {
    const child = fork(MEMBER, [JSON.stringify(plan)], { stdio: ["ignore", "pipe", "pipe", "ipc"] });
    const [message] = (await once(child, "message")) as [MemberMessage];
    if (message.type !== "ready") throw new Error(`a process did not start: ${JSON.stringify(message)}`);
    return new MemberProcess(child, message.port, handlers);
  }

  get hasExited(): boolean {
    return this.#hasExited;
  }

  /** Resolves when it publishes nothing any more, and the fate of all that it has published is known. */
  beQuiet(): Promise<void> {
    this.#tell("be-quiet");
    return this.#quiet.promise;
  }

  /** What its service says of itself; once. */
  status(): Promise<unknown> {
    this.#tell("tell-status");
    return this.#status.promise;
  }

  signal(signal: "SIGTERM" | "SIGKILL"): void {
    this.#child.kill(signal);
  }

  #tell(order: MemberOrder["order"]): void {
    if (!this.#hasExited) this.#child.send({ order } satisfies MemberOrder, () => {});
  }
}
