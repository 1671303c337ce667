import type { Clock } from "../clock.js";
import type { RedisSseError } from "../errors.js";
import type { BufferBudget } from "../backpressure/buffer-budget.js";
import type { HistoryPort } from "../replay/history-port.js";
import type { GapReason } from "../events/gap.js";
import type { RuleName } from "../sync-callback.js";
import type { ChannelSettings } from "./session-channels.js";
import type { SessionLimits } from "./session-state.js";
import type { SlowConsumerPolicy } from "../backpressure/slow-consumer.js";
import type { Ticking } from "./ticker.js";
import type { CreateTransport } from "../subscriptions/transport.js";

export interface SessionSettings extends SessionLimits, ChannelSettings {
  readonly heartbeatMs: number | false;
  readonly retryMs: number;
  readonly maxEventBytes: number;
  readonly maxReplayEvents: number;
  readonly slowConsumer: SlowConsumerPolicy;
}

/** What the service gives a session. */
export interface SessionContext<Session = unknown> {
  readonly settings: SessionSettings;
  readonly clock: Clock;
  readonly createTransport: CreateTransport;
  readonly history: HistoryPort;
  /** What may wait for the clients of all sessions together. */
  readonly budget: BufferBudget;
  /** A client is told that it misses events of these channels. */
  readonly onGap: (reason: GapReason, channels: readonly string[]) => void;
  /** What an application says of the events of a stream has failed. */
  readonly onRuleFailure: (rule: RuleName) => void;
  /** Throws `INVALID_CHANNEL` or `FORBIDDEN`. */
  readonly assertChannel: (name: unknown) => void;
  /** Ticks it until the answer is called. */
  readonly startTicking: (member: Ticking, heartbeatMs: number) => () => void;
  /** The fault behind another: that Redis is away, behind a subscription that ran out of time. */
  readonly explain: (fault: RedisSseError) => RedisSseError;
  /** Called once, when the session begins to close. */
  readonly onClosing: (session: Session) => void;
  readonly onClosed: (session: Session) => void;
}

/** Counters of one session. Times are `Clock.now()`, sizes bytes. */
export interface SessionStatistics {
  /** When the session was created. */
  readonly openedAt: number;
  /** Events written to the client, gaps among them; `connected` and `closing` are not counted. */
  readonly messagesSent: number;
  /** Bytes of frames that were given to the sink. */
  readonly bytesSent: number;
  /** Events that were never written: they came while the session was closing, waited when it had to, or were dropped by `slowConsumer`. */
  readonly messagesDropped: number;
  /** What waits for the client to read; at most `maxBufferedBytes`, but for one event where `slowConsumer` drops. */
  readonly bufferedBytes: number;
}
