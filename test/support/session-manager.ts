import { readOptions } from "../../lib/options.js";
import { SessionManager, type SessionManagerOptions } from "../../lib/sessions/session-manager.js";
import { Slices } from "../../lib/slices.js";
import type { FakeClock } from "./fake-clock.js";
import { noHistory } from "./no-history.js";
import { noRevocations } from "./no-revocations.js";
import { recordingLog } from "./recording-logger.js";
import { ScriptedHubConnection, type ScriptedRedis } from "./scripted-redis.js";

/** Streams without history on one connection to a scripted Redis. They send no heartbeats during a test. */
export function createSessionManager(
  redis: ScriptedRedis,
  { clock, ...options }: { clock: FakeClock } & Partial<SessionManagerOptions>,
): SessionManager {
  return new SessionManager({
    settings: readOptions({ heartbeatMs: 1_000_000 }),
    clock,
    slices: new Slices(clock),
    log: recordingLog(clock).log,
    history: noHistory,
    connect: (handlers) => new ScriptedHubConnection(redis, handlers),
    lease: () => Promise.reject(new Error("streams share one connection")),
    idTokens: null,
    explain: (fault) => fault,
    rights: noRevocations,
    readTcpTable: null,
    ...options,
  });
}
