import { expectBaseline, rememberBaseline, type Baseline } from "./baseline.js";
import {
  expectAllHear,
  expectConnectionsWithinLimit,
  expectNewStreamIsServed,
  fail,
  type CheckContext,
} from "./checks.js";
import { planRound } from "./fault-plan.js";
import { FaultRunner, type FaultRecord } from "./fault-runner.js";
import { Ledger } from "./ledger.js";
import type { SoakOptions } from "./options.js";
import { within } from "./patience.js";
import { Population } from "./population.js";
import { judgeSilentHoles, type SilentHole } from "./stream-check.js";
import { Tally } from "./tally.js";
import { Violations, type Violation } from "./violations.js";
import { startWorld, type World } from "./world.js";

export interface SoakReport {
  readonly options: SoakOptions;
  readonly violations: readonly Violation[];
  readonly tally: Tally;
  readonly faults: Tally;
  readonly faultRecords: readonly FaultRecord[];
  /** Codes of the `error` events that clients were told. */
  readonly faultsTold: Tally;
  /** Why the service says that its sessions ended. */
  readonly closed: Tally;
  readonly published: number;
  readonly mostRedisSockets: number;
  readonly heapGrowthBytes: number;
  readonly appOutput: string;
}

/**
 * How much the heap may have grown between the end of the first tenth and the end of the run, at rest both times:
 * compiled code and the like, but nothing that each stream or each fault leaves.
 */
export const MAX_HEAP_GROWTH_BYTES: number = 6 * 1024 * 1024;

const CLOSE_MS = 20_000;
const LEAVE_MS = 20_000;

/** One run: clients come and go while faults are injected; then everything has to be as it was before. */
export async function runSoak(
  program: string,
  options: SoakOptions,
  tell?: (text: string) => void,
): Promise<SoakReport> {
  const violations = new Violations(tell);
  const ledger = new Ledger();
  const world = await startWorld(program, options, ledger, violations);
  try {
    return await new Soak(options, world, ledger, violations).run();
  } finally {
    await world.stop();
  }
}

class Soak {
  readonly #context: CheckContext;
  readonly #faults = new Tally();
  readonly #runner: FaultRunner;
  #round = 0;
  #mostRedisSockets = 0;
  #heapGrowthBytes = 0;
  #closed = new Tally();
  /** For the report of a run that hangs. */
  #doing = "";

  constructor(options: SoakOptions, world: World, ledger: Ledger, violations: Violations) {
    const silentHoles: SilentHole[] = [];
    const tally = new Tally();
    const visits = { port: world.app.port, tally, faultsTold: new Tally(), violations };
    const population = new Population(options, { ...visits, ledger, silentHoles });
    this.#context = { ...visits, options, world, population, ledger, silentHoles };
    this.#runner = new FaultRunner(world, violations, this.#faults);
  }

  async run(): Promise<SoakReport> {
    const { options, violations, population } = this.#context;
    // A run in which every check waits for its whole deadline still ends before this, and with a report.
    const deadlineMs = options.seconds * 5_000 + 300_000;
    await violations.check("the run comes to its end", () =>
      within(deadlineMs, this.#phases()).catch((error: Error) => fail(`${error.message}: ${this.#doing}`)),
    );
    await violations.check("all clients can leave", () => within(LEAVE_MS, population.leave()));
    return this.#report();
  }

  async #phases(): Promise<void> {
    const { world, options } = this.#context;
    const { app, publisher } = world;
    await expectNewStreamIsServed(this.#context);
    const baseline = await rememberBaseline(world);
    publisher.start();
    const firstMs = options.seconds * 100;

    await this.#faultsFor(firstMs);
    await this.#check("everything returns to the baseline", () => this.#comeToRest(baseline));
    const heapBefore = await app.ask("heap");

    await this.#faultsFor(options.seconds * 1_000 - firstMs);
    await this.#check("everything returns to the baseline", () => this.#comeToRest(baseline));
    this.#heapGrowthBytes = (await app.ask("heap")) - heapBefore;
    await this.#check("the heap does not grow", async () => this.#expectHeap());
    await this.#check("the counts add up", () => this.#expectCounts());
    await this.#check("the app ends by itself", () => this.#expectEnd());
  }

  #check(rule: string, check: () => Promise<unknown>): Promise<void> {
    this.#doing = rule;
    return this.#context.violations.check(rule, check);
  }

  async #comeToRest(baseline: Baseline): Promise<void> {
    const { world, population } = this.#context;
    await within(LEAVE_MS, population.leave());
    await expectBaseline(world, baseline);
  }

  /** Rounds of faults, each followed by a look at how the app has come out of it. */
  async #faultsFor(lengthMs: number): Promise<void> {
    const { world, options, population } = this.#context;
    const endAt = Date.now() + lengthMs;
    population.start();
    while (Date.now() < endAt) {
      this.#doing = "faults";
      await this.#runner.run(planRound(options.seed, this.#round++, Math.max(500, endAt - Date.now())));
      const letIn = population.keepAway();
      await this.#check("no stream is deaf", () => expectAllHear(this.#context));
      await this.#check("a new stream is served", () => expectNewStreamIsServed(this.#context));
      letIn();
      if (world.app.hasExited) fail(`the app has ended, with ${await world.app.exited}`);
      await this.#check("connections stay within their limit", async () => {
        this.#mostRedisSockets = await expectConnectionsWithinLimit(world.app, options);
      });
    }
  }

  #expectHeap(): void {
    if (this.#heapGrowthBytes > MAX_HEAP_GROWTH_BYTES) fail(`it has grown by ${this.#heapGrowthBytes} bytes`);
  }

  async #expectCounts(): Promise<void> {
    const { world, tally } = this.#context;
    const { sessions } = await world.app.ask("status");
    for (const [reason, count] of Object.entries(sessions.closed)) this.#closed.add(reason, count);
    const streams = tally.of("streams");
    if (streams > sessions.opened) fail(`clients saw ${streams} streams, of ${sessions.opened}`);
    // Whoever reads is told why a stream ends; only one that the service gave up as unreadable is not.
    const cut = tally.of("cut while reading");
    const givenUp = this.#closed.of("slow-consumer") + this.#closed.of("write-error");
    if (cut > givenUp) fail(`${cut} clients were cut while reading, ${givenUp} were given up`);
  }

  async #expectEnd(): Promise<void> {
    const { app } = this.#context.world;
    await within(CLOSE_MS, app.ask("close"));
    const code = await within(CLOSE_MS, app.exited);
    if (code !== 0) fail(`it ended with ${code}`);
  }

  #report(): SoakReport {
    const { options, violations, ledger, silentHoles, tally, faultsTold, world } = this.#context;
    judgeSilentHoles(silentHoles, ledger, violations);
    return {
      options,
      violations: violations.all,
      tally,
      faults: this.#faults,
      faultRecords: this.#runner.records,
      faultsTold,
      closed: this.#closed,
      published: ledger.published,
      mostRedisSockets: this.#mostRedisSockets,
      heapGrowthBytes: this.#heapGrowthBytes,
      appOutput: world.app.output,
    };
  }
}
