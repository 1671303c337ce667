import type { Clock } from "../clock.js";
import { delay } from "../deadline.js";
import { sanitize } from "../errors.js";
import { createLog } from "../log.js";
import { CONNECTION_ROLES, type ConnectionRole, type RedisClient } from "../redis/client.js";
import { connectionName } from "../redis/connection-name.js";
import { askServer, type ServerConnection } from "./server-view.js";

/** What the service believes to hold at one moment. */
export interface LocalView {
  readonly connections: Readonly<Record<ConnectionRole, LocalConnections>>;
  readonly subscriptions: LocalSubscriptions;
  /** Channels that somebody here listens to, by an acknowledged subscription. */
  readonly channels: readonly string[];
}

export interface LocalConnections {
  /** Made and not yet ended. */
  readonly made: number;
  /** Of these, connected for a while as far as can be told. */
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

/** A number that the service and the server count independently. */
export interface Count {
  /** By the service's own account. */
  readonly expected: number;
  /** By the server's. */
  readonly actual: number;
}

/** The service's account of what it holds, beside the server's. `null` in a part: the server does not tell it. */
export interface DriftReport {
  /** Whether they differ, in two looks a quarter of a second apart: something leaks, or is deaf. */
  readonly found: boolean;
  /** Connections by role, as `CLIENT LIST` has them under this service's name. */
  readonly connections: Readonly<Record<ConnectionRole, Count>> | null;
  /** Channels of the shared subscriber connection. */
  readonly subscriptions: Count | null;
  /**
   * Channels that somebody here listens to and nobody is subscribed to on the server (`PUBSUB NUMSUB`): deaf, or
   * their connection is on its way back. How many, and the first 100. Of more than 5,000 channels so many are
   * asked for, at random.
   */
  readonly silent: {
    /** Number of these channels. */
    readonly count: number;
    /** The first 100 of them. */
    readonly channels: readonly string[];
  } | null;
}

export interface DriftSource {
  readonly commands: () => RedisClient;
  readonly instance: string;
  /** Clients of the server by its INFO; `null` where it does not tell. */
  readonly connectedClients: number | null;
  readonly clock: Clock;
  readonly look: () => LocalView;
  /** The service is closing: nothing is waited for, and nothing reported. */
  readonly signal: AbortSignal;
}

const log = createLog("status");

/** Between two looks: what was only on its way has arrived by then. */
const SECOND_LOOK_MS = 250;

/** `CLIENT LIST` takes the server some 10 us and 250 bytes a client, and nobody else is served meanwhile. */
const MAX_CLIENTS = 2_000;

const MAX_ASKED = 5_000;
const MAX_SILENT = 100;

/**
 * Compares what the service believes to hold with what the server says. `null` where it cannot be asked: it is
 * away, or is a cluster or a mock. Never rejects.
 */
export async function auditConnections(source: DriftSource): Promise<DriftReport | null> {
  try {
    const first = await lookOnce(source, sample(source.look().channels));
    if (first === null || !isSuspicious(first)) return first && createReport(first, false);
    await delay(source.clock, SECOND_LOOK_MS, source.signal);
    const second = await lookOnce(source, first.silent ?? []);
    return second && confirm(first, second);
  } catch (error) {
    log("drift is not known: %s", sanitize(error).message);
    return null;
  }
}

/** What one look has seen. */
interface Look {
  readonly roles: Readonly<Record<ConnectionRole, Role>> | null;
  readonly subscriptions: Channels | null;
  readonly silent: readonly string[] | null;
}

interface Role {
  readonly ids: ReadonlySet<string>;
  readonly expected: number;
  /** The server can have had so many without anything wrong. */
  readonly least: number;
  readonly most: number;
}

interface Channels {
  readonly count: Count;
  /** -1: there are fewer than there can be with nothing wrong; 1: there are more. */
  readonly off: -1 | 0 | 1;
}

async function lookOnce(source: DriftSource, asked: readonly string[]): Promise<Look | null> {
  const { commands, instance, connectedClients, look, signal } = source;
  if (signal.aborted) return null;
  const before = look();
  const listed = connectedClients !== null && connectedClients <= MAX_CLIENTS;
  const server = await askServer(commands(), asked, listed);
  if (server === null || signal.aborted) return null;
  const after = look();
  const ours = server.connections && groupByRole(server.connections, instance);
  // With nothing to compare nothing is known, which is not the same as no drift.
  if (ours === null && server.silent === null) return null;
  return {
    roles: ours && compareRoles(before, after, ours),
    subscriptions: ours && compareSubscriptions(before.subscriptions, after.subscriptions, ours.subscriber),
    silent: server.silent && stillHeard(before, after, server.silent),
  };
}

type Ours = Readonly<Record<ConnectionRole, readonly ServerConnection[]>>;

/**
 * The connections of this service. `null` where the list has not the very one over which it was asked for: names
 * are refused, or a balancer led to another server.
 */
function groupByRole(connections: readonly ServerConnection[], instance: string): Ours | null {
  const of = (role: ConnectionRole): readonly ServerConnection[] =>
    connections.filter(({ name }) => name === connectionName(role, instance));
  const command = of("command");
  return command.length === 0 ? null : { command, subscriber: of("subscriber"), lease: of("lease") };
}

function compareRoles(before: LocalView, after: LocalView, ours: Ours): Record<ConnectionRole, Role> {
  const compare = (role: ConnectionRole): Role => {
    const [then, now] = [before.connections[role], after.connections[role]];
    return {
      ids: new Set(ours[role].map(({ id }) => id)),
      expected: now.made,
      least: Math.min(then.ready, now.ready),
      most: Math.max(then.made, now.made),
    };
  };
  return { command: compare("command"), subscriber: compare("subscriber"), lease: compare("lease") };
}

/** What was begun while the server was asked, and what was under way before, it may have had or not. */
function compareSubscriptions(
  before: LocalSubscriptions,
  after: LocalSubscriptions,
  subscribers: readonly ServerConnection[],
): Channels | null {
  let actual = 0;
  for (const { channels } of subscribers) {
    if (channels === null) return null;
    actual += channels;
  }
  const count = { expected: after.settled, actual };
  if (before.losses !== after.losses) return { count, off: 0 };
  const begun = after.begun - before.begun;
  const most = before.settled + before.unsettled + begun;
  return { count, off: actual < before.settled - begun ? -1 : actual > most ? 1 : 0 };
}

/** A connection that was lost meanwhile explains every silence. */
function stillHeard(before: LocalView, after: LocalView, silent: readonly string[]): readonly string[] {
  if (before.subscriptions.losses !== after.subscriptions.losses) return [];
  const heard = new Set(after.channels);
  return silent.filter((channel) => heard.has(channel));
}

function isSuspicious({ roles, subscriptions, silent }: Look): boolean {
  const offRole = ({ ids, least, most }: Role): boolean => ids.size < least || ids.size > most;
  const off = roles !== null && CONNECTION_ROLES.some((role) => offRole(roles[role]));
  return off || (subscriptions !== null && subscriptions.off !== 0) || (silent !== null && silent.length > 0);
}

/** What both looks have seen; the figures are those of the second, which asked for no other channels. */
function confirm(first: Look, second: Look): DriftReport {
  const roles = CONNECTION_ROLES.some(
    (role) => first.roles !== null && second.roles !== null && isOff(first.roles[role], second.roles[role]),
  );
  const off = second.subscriptions?.off ?? 0;
  const channels = off !== 0 && off === first.subscriptions?.off;
  return createReport(second, roles || channels || (second.silent?.length ?? 0) > 0);
}

/** Too few in both, or in both the same ones that are too many: others come and go by right. */
function isOff(first: Role, second: Role): boolean {
  const stayed = [...second.ids].filter((id) => first.ids.has(id)).length;
  const missing = first.ids.size < first.least && second.ids.size < second.least;
  return missing || stayed > Math.max(first.most, second.most);
}

function createReport({ roles, subscriptions, silent }: Look, found: boolean): DriftReport {
  const count = ({ ids, expected }: Role): Count => ({ expected, actual: ids.size });
  return {
    found,
    connections: roles && {
      command: count(roles.command),
      subscriber: count(roles.subscriber),
      lease: count(roles.lease),
    },
    subscriptions: subscriptions && subscriptions.count,
    silent: silent && { count: silent.length, channels: silent.slice(0, MAX_SILENT) },
  };
}

/** So many of them, in a row from anywhere. */
function sample(channels: readonly string[]): readonly string[] {
  if (channels.length <= MAX_ASKED) return channels;
  const start = Math.floor(Math.random() * channels.length);
  return [...channels.slice(start), ...channels.slice(0, start)].slice(0, MAX_ASKED);
}
