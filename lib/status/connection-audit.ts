import type { Clock } from "../clock.js";
import { delay } from "../deadline.js";
import { sanitize } from "../errors.js";
import { createLog } from "../log.js";
import { CONNECTION_ROLES, type ConnectionRole, type RedisClient } from "../redis/client.js";
import { connectionName } from "../redis/connection-name.js";
import { askServer, type ServerConnection } from "./server-view.js";

/** Connections and subscriptions that the service counts at one moment. */
export interface LocalView {
  readonly connections: Readonly<Record<ConnectionRole, LocalConnections>>;
  readonly subscriptions: LocalSubscriptions;
  /** Channels with an acknowledged subscription of this process. */
  readonly channels: readonly string[];
}

export interface LocalConnections {
  /** Connections that were created and have not ended. */
  readonly made: number;
  /** How many of them have been connected for some time. */
  readonly ready: number;
}

/** The channels of the shared subscriber connection. */
export interface LocalSubscriptions {
  /** Subscribed channels without a running operation. */
  readonly settled: number;
  /** Channels with a running operation: the server may have subscribed them or not. */
  readonly unsettled: number;
  /** Number of operations that were started so far. */
  readonly begun: number;
  /** How often the connection was lost so far. */
  readonly losses: number;
}

/** A number that the service and the server count independently. */
export interface Count {
  /** Number that the service counts. */
  readonly expected: number;
  /** Number that the server counts. */
  readonly actual: number;
}

/** Compares counts of the service with counts of the server. A part is `null` if the server does not report it. */
export interface DriftReport {
  /** Whether the numbers differ in two checks, 250 ms apart. Then a connection or subscription leaks or is missing. */
  readonly found: boolean;
  /** Connections by role. The server counts the connections that have the name of this service in `CLIENT LIST`. */
  readonly connections: Readonly<Record<ConnectionRole, Count>> | null;
  /** Channels of the shared subscriber connection. */
  readonly subscriptions: Count | null;
  /**
   * Channels to which streams of this process are subscribed, but which have no subscriber on the server (`PUBSUB
   * NUMSUB`).
   *
   * Either the subscription is missing, or its connection is reconnecting. If there are more than 5,000 channels, a
   * random 5,000 of them are checked.
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
  /** Number of clients of the server, from `INFO`. `null` if the server does not report it. */
  readonly connectedClients: number | null;
  readonly clock: Clock;
  readonly look: () => LocalView;
  /** Aborts when the service closes. Then the check ends without a report. */
  readonly signal: AbortSignal;
}

const log = createLog("status");

/** Time between the two checks. In this time, the server executes commands that were still on the network. */
const SECOND_LOOK_MS = 250;

/**
 * `CLIENT LIST` takes about 10 µs and 250 bytes for each client, and the server runs no other command during that time.
 */
const MAX_CLIENTS = 2_000;

const MAX_ASKED = 5_000;
const MAX_SILENT = 100;

/**
 * Compares the service's count of its connections and subscriptions with the server's count.
 *
 * Resolves to `null` if the server does not report them, or for ioredis-mock. Never rejects.
 */
export async function auditConnections(source: DriftSource): Promise<DriftReport | null> {
  try {
    const first = await lookOnce(source, sample(source.look().channels));
    if (first === null || !isSuspicious(first)) return first && createReport(first, false);
    await delay(source.clock, SECOND_LOOK_MS, source.signal);
    const second = await lookOnce(source, first.silent ?? []);
    return second && confirm(first, second);
  } catch (error) {
    log("cannot check for drift: %s", sanitize(error).message);
    return null;
  }
}

/** The result of one check. */
interface Look {
  readonly roles: Readonly<Record<ConnectionRole, Role>> | null;
  readonly subscriptions: Channels | null;
  readonly silent: readonly string[] | null;
}

interface Role {
  readonly ids: ReadonlySet<string>;
  readonly expected: number;
  /** The range of numbers that the server can correctly have. */
  readonly least: number;
  readonly most: number;
}

interface Channels {
  readonly count: Count;
  /** -1: the server has too few channels. 1: it has too many. 0: the number can be correct. */
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
  // Without numbers of the server, drift is unknown. A report would say that no drift was found.
  if (ours === null && server.silent === null) return null;
  return {
    roles: ours && compareRoles(before, after, ours),
    subscriptions: ours && compareSubscriptions(before.subscriptions, after.subscriptions, ours.subscriber),
    silent: server.silent && stillHeard(before, after, server.silent),
  };
}

type Ours = Readonly<Record<ConnectionRole, readonly ServerConnection[]>>;

/**
 * Returns the connections of this service by role.
 *
 * Returns `null` if the list does not contain the connection over which it was read. Then the server refuses names of
 * connections, or a load balancer forwarded the command to another server.
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

/** Operations that ran before or during the check may have taken effect on the server or not, so a range is correct. */
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

/** If the connection was lost during the check, this explains each silent channel. */
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

/** Reports drift that both checks found, with the numbers of the second check. */
function confirm(first: Look, second: Look): DriftReport {
  const roles = CONNECTION_ROLES.some(
    (role) => first.roles !== null && second.roles !== null && isOff(first.roles[role], second.roles[role]),
  );
  const off = second.subscriptions?.off ?? 0;
  const channels = off !== 0 && off === first.subscriptions?.off;
  return createReport(second, roles || channels || (second.silent?.length ?? 0) > 0);
}

/**
 * Whether both checks found too few connections, or the same connections are too many in both. New connections can be
 * correct.
 */
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

/** Returns at most `MAX_ASKED` channels, in a row from a random start. */
function sample(channels: readonly string[]): readonly string[] {
  if (channels.length <= MAX_ASKED) return channels;
  const start = Math.floor(Math.random() * channels.length);
  return [...channels.slice(start), ...channels.slice(0, start)].slice(0, MAX_ASKED);
}
