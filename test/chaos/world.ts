import type { FaultTarget } from "./faults.js";
import type { MemberHandlers } from "./member-process.js";
import type { PublisherPlan, PublisherStyle } from "./member-protocol.js";
import type { ChaosOptions } from "./options.js";
import { startRedises } from "./redises.js";
import { Slot } from "./slot.js";

const APPS = 4;
/** Processes that only publish. */
const SENDERS = 2;
/** Every so many milliseconds there is an event, and a burst on a tiny channel. */
const EVENT_EVERY_MS = 12;
const LOUD_EVERY_MS = 250;
const EVENTS_OF_A_BURST = 4;

export interface World extends FaultTarget {
  beQuiet(): Promise<void>;
  /** Ends whatever still runs. */
  stop(): Promise<void>;
}

export async function startWorld(
  program: string,
  options: ChaosOptions,
  handlers: MemberHandlers,
): Promise<World> {
  const redises = await startRedises(program, options.topology);
  const nextPublishers = planPublishers(options.publishers);
  const slots = await Promise.all(
    Array.from({ length: APPS + SENDERS }, (_, index) =>
      Slot.start({
        name: index < APPS ? `app ${index}` : `sender ${index - APPS}`,
        address: redises.address,
        redisPort: redises.port,
        serves: index < APPS,
        subscriptions: index === APPS - 1 ? "dedicated" : "shared",
        nextPublishers: () => nextPublishers(index),
        seed: options.seed + 1_000 * index,
        handlers,
      }),
    ),
  );
  return {
    redises,
    slots,
    apps: slots.slice(0, APPS),
    async beQuiet() {
      await Promise.all(slots.map((slot) => slot.beQuiet()));
    },
    async stop() {
      await Promise.all(slots.map((slot) => slot.stop()));
      await redises.stop();
    },
  };
}

/** Shares the publishers out among the processes; each process that comes gets publishers with ids of their own. */
function planPublishers(count: number): (slot: number) => readonly PublisherPlan[] {
  const loud = Math.max(1, Math.round(count / 10));
  const styles: readonly PublisherStyle[] = Array.from({ length: count }, (_, index) =>
    index < loud ? "loud" : index % 2 === 0 ? "bursts" : "sequential",
  );
  const everyMs: Readonly<Record<PublisherStyle, number>> = {
    loud: LOUD_EVERY_MS * loud,
    bursts: EVENT_EVERY_MS * (count - loud) * EVENTS_OF_A_BURST,
    sequential: EVENT_EVERY_MS * (count - loud),
  };
  let lastId = 0;
  // From the last slot on: those that only publish have the loud ones, which then live through the run.
  return (slot) =>
    styles
      .filter((_, index) => APPS + SENDERS - 1 - (index % (APPS + SENDERS)) === slot)
      .map((style) => ({ id: ++lastId, style, everyMs: everyMs[style] }));
}
