import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

import { deferred } from "../support/eventually.js";
import type { AppAnswers, AppMessage, AppOptions, AppRequest, Question } from "./app-protocol.js";

const APP = fileURLToPath(new URL("./app.js", import.meta.url));

/** Of what the app prints, the last characters are kept for the report. */
const MAX_OUTPUT = 4_000;

/** The app under test, seen from outside. */
export class AppProcess {
  readonly port: number;
  /** Resolves with its exit code, or the signal that ended it. */
  readonly exited: Promise<number | NodeJS.Signals>;
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (answer: AppAnswers[Question]) => void>();
  readonly #onTrouble: (trouble: string) => void;
  #nextId = 0;
  #hasExited = false;
  #output = "";

  private constructor(child: ChildProcess, port: number, onTrouble: (trouble: string) => void) {
    this.#child = child;
    this.port = port;
    this.#onTrouble = onTrouble;
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.setEncoding("utf8").on("data", (chunk: string) => {
        this.#output = (this.#output + chunk).slice(-MAX_OUTPUT);
      });
    }
    child.on("message", (message: AppMessage) => this.#receive(message));
    this.exited = once(child, "exit").then(([code, signal]: (number | NodeJS.Signals | null)[]) => {
      this.#hasExited = true;
      return code ?? signal!;
    });
  }

  static async start(options: AppOptions, onTrouble: (trouble: string) => void): Promise<AppProcess> {
    const child = fork(APP, [JSON.stringify(options)], {
      execArgv: ["--expose-gc"],
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    });
    const [message] = (await once(child, "message")) as [AppMessage];
    if (!("listening" in message)) throw new Error(`the app did not start: ${JSON.stringify(message)}`);
    return new AppProcess(child, message.listening, onTrouble);
  }

  get output(): string {
    return this.#output;
  }

  get hasExited(): boolean {
    return this.#hasExited;
  }

  /** Rejects when the app has ended. */
  async ask<Name extends Question>(question: Name, milliseconds = 0): Promise<AppAnswers[Name]> {
    const { promise, resolve, reject } = deferred<AppAnswers[Name]>();
    const request: AppRequest = { id: this.#nextId++, question, milliseconds };
    this.#waiting.set(request.id, resolve as (answer: AppAnswers[Question]) => void);
    void this.exited.then(() => reject(new Error("the app has ended")));
    if (!this.#hasExited) this.#child.send(request, (error) => error && reject(error));
    try {
      return await promise;
    } finally {
      this.#waiting.delete(request.id);
    }
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }

  #receive(message: AppMessage): void {
    if ("trouble" in message) this.#onTrouble(message.trouble);
    else if ("id" in message) this.#waiting.get(message.id)?.(message.answer);
  }
}
