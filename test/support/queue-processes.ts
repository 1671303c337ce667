import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface, type Interface } from "node:readline";
import { fileURLToPath } from "node:url";

import type { QueueStatistics } from "../../lib/index.js";

import { endWithTests } from "./end-with-tests.js";

const PROGRAM = fileURLToPath(new URL("./queue-worker.js", import.meta.url));

export interface QueueWorkerOptions {
  readonly url: string;
  readonly queue: string;
  /** Duration of a task. */
  readonly workMs: number;
  readonly leaseMs: number;
  readonly concurrency: number;
  readonly pollMs?: number;
}

export type QueueWorkerReport = QueueStatistics;

/** A worker in a separate process. */
export class QueueWorkerProcess {
  readonly #child: ChildProcess;
  readonly #lines: Interface;

  private constructor(options: QueueWorkerOptions) {
    this.#child = spawn(process.execPath, [PROGRAM, JSON.stringify(options)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#lines = createInterface({ input: this.#child.stdout! });
    endWithTests(this.#child);
  }

  /** Resolves when the worker has started its first task. */
  static async start(options: QueueWorkerOptions): Promise<QueueWorkerProcess> {
    const worker = new QueueWorkerProcess(options);
    await once(worker.#lines, "line");
    return worker;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    this.#child.kill(signal);
  }

  async kill(): Promise<void> {
    if (!this.running) return;
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exited;
  }

  /** Sends SIGTERM. Resolves with the counts of the worker. */
  async end(): Promise<QueueWorkerReport> {
    const exited = once(this.#child, "exit");
    const line = once(this.#lines, "line");
    this.#child.kill("SIGTERM");
    const [text] = (await line) as [string];
    await exited;
    return JSON.parse(text) as QueueWorkerReport;
  }
}
