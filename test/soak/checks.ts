import type { AppProcess } from "./app-process.js";
import { Visit, type VisitContext } from "./client.js";
import { until, within } from "./patience.js";
import type { SoakOptions } from "./options.js";
import { StreamCheck, type SilentHole } from "./stream-check.js";
import type { Ledger } from "./ledger.js";
import type { Population } from "./population.js";
import { CHANNELS, LOUD_CHANNEL, type VisitPlan } from "./visit-plan.js";
import { maxLeases, type World } from "./world.js";

export interface CheckContext extends VisitContext {
  readonly options: SoakOptions;
  readonly world: World;
  readonly population: Population;
  readonly ledger: Ledger;
  readonly silentHoles: SilentHole[];
}

/** How long the app may take after the last fault: a dead link is given up after 5 s and tried anew after 1.5 s. */
const RECOVERY_MS = 30_000;

/** The client of a check: it comes, reads, and stays for as long as it is needed. */
const PROBE: VisitPlan = {
  channels: [CHANNELS[0]!],
  asking: "plain",
  leaving: "destroy",
  leaveAfterMs: RECOVERY_MS,
  stall: null,
  hasty: false,
  pauseMs: 0,
};

/** A new stream is connected, and hears what is published then. */
export function expectNewStreamIsServed(context: CheckContext): Promise<void> {
  const { violations, ledger, silentHoles, world, options } = context;
  return until(
    "a new stream is served",
    async () => {
      const { channels } = PROBE;
      const check = new StreamCheck({
        name: "probe",
        channels,
        mode: options.mode,
        ledger,
        violations,
        silentHoles,
      });
      const probe = new Visit(context, PROBE, check);
      try {
        await within(
          3_000,
          soon(() => probe.listens || fail("it is not connected")),
        );
        const number = await within(2_000, world.publisher.publish(channels[0]!));
        if (number === null) throw new Error("Redis does not take a message");
        await within(
          3_000,
          soon(() => check.reached(channels[0]!) >= number || fail("it does not hear what is published")),
        );
      } finally {
        probe.leave();
      }
    },
    RECOVERY_MS,
  );
}

/**
 * Every stream that is connected hears what is published now, unless it ends or stalls meanwhile. One that has to
 * be subscribed again first has not to hear the very next number: the publisher goes on.
 */
export async function expectAllHear({ world, population }: CheckContext): Promise<void> {
  const visits = population.listening;
  const letGo = visits.map((visit) => visit.detain());
  try {
    const marks = new Map<string, number>();
    for (const channel of [...CHANNELS, LOUD_CHANNEL]) {
      const publish = async (): Promise<number> =>
        (await within(2_000, world.publisher.publish(channel))) ?? fail("it did not");
      marks.set(channel, await until("Redis takes a message", publish));
    }
    await until("no stream is deaf", async () => expectHeard(visits, marks), RECOVERY_MS);
  } finally {
    for (const go of letGo) go();
  }
}

function expectHeard(visits: readonly Visit[], marks: ReadonlyMap<string, number>): void {
  for (const { check, listens } of visits) {
    if (!listens) continue;
    const deaf = check.channels.find((channel) => check.reached(channel) < marks.get(channel)!);
    if (deaf !== undefined) fail(`${check.name} does not hear ${deaf}`);
  }
}

/** The app never has more connections than its limit and the shared ones. */
export async function expectConnectionsWithinLimit(app: AppProcess, options: SoakOptions): Promise<number> {
  const most = 2 + (options.mode === "dedicated" ? maxLeases(options.clients) : 0);
  const { mostRedisSockets } = await app.ask("look");
  if (mostRedisSockets > most) fail(`there were ${mostRedisSockets} sockets, of ${most}`);
  return mostRedisSockets;
}

export function fail(why: string): never {
  throw new Error(why);
}

function soon(check: () => unknown): Promise<void> {
  return until("it comes", async () => void check(), 2_500);
}
