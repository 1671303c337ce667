import type { Clock } from "../clock.js";
import { delay } from "../deadline.js";
import { sanitize } from "../errors.js";
import { createLog } from "../log.js";
import { CONNECTION_ROLES, type ConnectionRole, type RedisClient } from "../redis/client.js";
import { connectionName } from "../redis/connection-name.js";
import { askServer, type ServerView } from "./server-view.js";

/** What the service believes to hold at one moment. */
export interface LocalView {
  readonly connections: Readonly<Record<ConnectionRole, LocalConnections>>;
  readonly subscriptions: LocalSubscriptions;
  /** Channels that are subscribed, over whichever connection, and not about to be left. */
  readonly channels: readonly string[];
}

export interface LocalConnections {
  /** Made and not yet ended. */
  readonly made: number;
  /** Of these, connected as far as can be told. */
  readonly ready: number;
}

/** The channels of the shared subscriber connection. */
export interface LocalSubscriptions {
  /** Acknowledged, and nothing under way. */
  readonly settled: number;
  /** With an operation under way: the server may have them or not. */
  readonly unsettled: number;
  /** How many operations on a channel were begun so far. */
  readonly begun: number;
  /** How often the connection was lost so far. */
  readonly losses: number;
}

export interface Count {
  /** By the service's own account. */
  readonly expected: number;
  /** By the server's. */
  readonly actual: number;
}

/** The service's account of what it holds, beside the server's. */
export interface DriftReport {
  /** Whether they differ, in two looks a moment apart: something leaks, or is deaf. */
  readonly found: boolean;
  /** Connections by role, as `CLIENT LIST` has them under this service's name. */
  readonly connections: Readonly<Record<ConnectionRole, Count>>;
  /** Channels of the shared subscriber connection. */
  readonly subscriptions: Count;
  /** Channels that streams listen to here and that nobody is subscribed to on the server; at most 100. */
  readonly silentChannels: readonly string[];
}

export interface DriftSource {
  readonly commands: () => RedisClient;
  readonly instance: string;
  readonly clock: Clock;
  readonly look: () => LocalView;
  /** The service is closing: nothing is waited for. */
  readonly signal: AbortSignal;
}

const log = createLog("status");

/** Between two looks: what was only on its way has arrived by then. */
const SECOND_LOOK_MS = 250;

const MAX_SILENT = 100;

/**
 * Compares what the service believes to hold with what the server says: connections of its name in
 * `CLIENT LIST`, channels in `PUBSUB NUMSUB`. `null` where the server cannot be asked: it is away, it is a
 * cluster or a mock, it refuses CLIENT or PUBSUB to this user, or it has too many clients to list.
 * Never rejects.
 */
export async function findDrift(source: DriftSource): Promise<DriftReport | null> {
  try {
    const first = await lookOnce(source);
    if (first === null || first.suspicions.size === 0) return first && first.report;
    await delay(source.clock, SECOND_LOOK_MS, source.signal);
    const second = await lookOnce(source);
    if (second === null) return null;
    const report = confirm(first, second);
    if (report.found) log("drift: %o", { ...report, silentChannels: report.silentChannels.length });
    return report;
  } catch (error) {
    log("drift is not known: %s", sanitize(error).message);
    return null;
  }
}

/** One look, and what looked wrong in it: it counts when the next look shows the same. */
interface Look {
  readonly report: DriftReport;
  readonly suspicions: ReadonlySet<string>;
}

async function lookOnce({ commands, instance, look }: DriftSource): Promise<Look | null> {
  const before = look();
  const server = await askServer(commands(), before.channels);
  return server === null ? null : compare(before, look(), server, instance);
}

/** Compares the service, before and after the server was asked, with the answer. */
function compare(before: LocalView, after: LocalView, server: ServerView, instance: string): Look {
  const suspicions = new Set<string>();
  const suspect = (what: string, actual: number, least: number, most: number): void => {
    if (actual < least) suspicions.add(`${what} missing`);
    if (actual > most) suspicions.add(`${what} left over`);
  };
  const connections = {} as Record<ConnectionRole, Count>;
  for (const role of CONNECTION_ROLES) {
    const [then, now] = [before.connections[role], after.connections[role]];
    const actual = server.connections.filter(({ name }) => name === connectionName(role, instance)).length;
    connections[role] = { expected: now.made, actual };
    suspect(role, actual, Math.min(then.ready, now.ready), Math.max(then.made, now.made));
  }
  const subscriptions = {
    expected: after.subscriptions.settled,
    actual: server.connections
      .filter(({ name }) => name === connectionName("subscriber", instance))
      .reduce((sum, { channels }) => sum + channels, 0),
  };
  const { settled, unsettled, begun, losses } = before.subscriptions;
  if (losses === after.subscriptions.losses) {
    const meanwhile = after.subscriptions.begun - begun;
    suspect("subscriptions", subscriptions.actual, settled - meanwhile, settled + unsettled + meanwhile);
  }
  const still = new Set(after.channels);
  const silentChannels = server.silent.filter((channel) => still.has(channel));
  for (const channel of silentChannels) suspicions.add(`silent ${channel}`);
  return { report: { found: false, connections, subscriptions, silentChannels }, suspicions };
}

/** The second look's figures, and of the suspicions what both have. */
function confirm(first: Look, { report, suspicions }: Look): DriftReport {
  const confirmed = new Set([...suspicions].filter((suspicion) => first.suspicions.has(suspicion)));
  const silentChannels = report.silentChannels.filter((channel) => confirmed.has(`silent ${channel}`));
  return { ...report, silentChannels: silentChannels.slice(0, MAX_SILENT), found: confirmed.size > 0 };
}
