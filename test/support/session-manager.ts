import { readOptions, type Settings } from "../../lib/options.js";
import { SessionManager, type SessionManagerOptions } from "../../lib/sessions/session-manager.js";
import { Slices } from "../../lib/slices.js";
import { Subscriptions } from "../../lib/subscriptions/subscriptions.js";
import type { FakeClock } from "./fake-clock.js";
import { noHistory } from "./no-history.js";
import { noRevocations } from "./no-revocations.js";
import { recordingLog } from "./recording-logger.js";
import { ScriptedHubConnection, type ScriptedRedis } from "./scripted-redis.js";

type Given = Partial<Pick<SessionManagerOptions, "slices" | "log" | "readTcpTable">> & {
  readonly clock: FakeClock;
  readonly settings?: Settings;
};

/** Streams without history on one connection to a scripted Redis. They send no heartbeats during a test. */
export function createSessionManager(
  redis: ScriptedRedis,
  { clock, readTcpTable = null, ...given }: Given,
): { readonly streams: SessionManager; readonly subscriptions: Subscriptions } {
  const common = {
    settings: readOptions({ heartbeatMs: 1_000_000 }),
    clock,
    slices: new Slices(clock),
    log: recordingLog(clock).log,
    history: noHistory,
    ...given,
  };
  const subscriptions = new Subscriptions({
    ...common,
    connect: (handlers) => new ScriptedHubConnection(redis, handlers),
    lease: () => Promise.reject(new Error("streams share one connection")),
  });
  const streams = new SessionManager({
    ...common,
    subscriptions,
    idTokens: null,
    explain: (fault) => fault,
    rights: noRevocations,
    followRevocations: () => {},
    readTcpTable,
  });
  return { streams, subscriptions };
}
