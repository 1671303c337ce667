import { allOf, channelsOf, serviceOptions } from "./channels.js";
import { APP_USER, type FaultTarget } from "./faults.js";
import type { RunOptions } from "./options.js";
import type { PublisherPlan, PublisherStyle } from "./publishers.js";
import { startRedises } from "./redises.js";
import { Slot, type MemberHandlers } from "./slot.js";

/** Interval of events, and of bursts on a tiny channel, in milliseconds. */
const EVENT_EVERY_MS = 12;
const LOUD_EVERY_MS = 250;
const EVENTS_OF_A_BURST = 4;

export interface World extends Omit<FaultTarget, "clients"> {
  /** Ends all processes that still run. */
  stop(): Promise<void>;
}

/** The processes and the servers of a run. */
export async function startWorld(
  program: string,
  options: RunOptions,
  handlers: MemberHandlers,
): Promise<World> {
  const isSoak = options.harness === "soak";
  // Some processes only publish and serve no streams.
  const [apps, senders] = isSoak ? [1, 1] : [4, 2];
  const redises = await startRedises(program, options.topology);
  const channels = channelsOf(options);
  const publishersOf = planPublishers(options, isSoak ? senders : apps + senders);
  const startSlot = (index: number): Promise<Slot> => {
    const serves = index < apps;
    let generation = 0;
    const { mode } = options;
    const subscriptions = mode === "mixed" ? (index === apps - 1 ? "dedicated" : "shared") : mode;
    const isDedicated = subscriptions === "dedicated";
    return Slot.start({
      name: serves ? `app ${index}` : `sender ${index - apps}`,
      // The publishers of the soak do not use the proxied connections of the app.
      isDedicated,
      redisPort: isSoak && !serves ? null : redises.port,
      nextPlan: (redisUrl) => ({
        service: serviceOptions(asUser(redisUrl) ?? redises.address, subscriptions, options),
        serves,
        // From the last slot on. Processes that only publish get the loud publishers, which live through the run.
        publishers: publishersOf(apps + senders - 1 - index),
        channels,
        seed: options.seed + 1_000 * index + generation++,
      }),
      handlers,
    });
  };
  const slots = await Promise.all(Array.from({ length: apps + senders }, (_, index) => startSlot(index)));
  return {
    redises,
    slots,
    apps: slots.slice(0, apps),
    linked: slots.filter(({ redis }) => redis !== null),
    channels: allOf(channels),
    async stop() {
      await Promise.all(slots.map((slot) => slot.stop()));
      await redises.stop();
    },
  };
}

function asUser(redisUrl: string | null): string | null {
  return redisUrl && redisUrl.replace("//", `//${APP_USER.name}:${APP_USER.password}@`);
}

/** Divides the publishers among the processes. Each new process gets publishers with new ids. */
function planPublishers(
  { harness, mode, publishers: count }: RunOptions,
  processes: number,
): (process: number) => readonly PublisherPlan[] {
  const few = Math.max(1, Math.round(count / 10));
  const rare: readonly PublisherStyle[] =
    harness === "chaos" ? ["loud"] : mode === "shared" ? ["plain"] : ["plain", "loud"];
  const styles = Array.from({ length: count }, (_, index): PublisherStyle => {
    if (index < few * rare.length) return rare[index % rare.length]!;
    return index % 2 === 0 ? "bursts" : "sequential";
  });
  const others = count - few * rare.length;
  const everyMs: Readonly<Record<PublisherStyle, number>> = {
    loud: LOUD_EVERY_MS * few,
    plain: EVENT_EVERY_MS * few,
    bursts: EVENT_EVERY_MS * others * EVENTS_OF_A_BURST,
    sequential: EVENT_EVERY_MS * others,
  };
  let lastId = 0;
  return (process) =>
    styles
      .filter((_, index) => index % processes === process)
      .map((style) => ({ id: ++lastId, style, everyMs: everyMs[style] }));
}
