import type { Slices } from "../slices.js";
import type { Clock } from "../clock.js";
import type { RedisSseError } from "../errors.js";
import type { BufferBudget } from "../backpressure/buffer-budget.js";
import type { HistoryPort } from "../replay/history-port.js";
import type { GapReason } from "../events/gap.js";
import type { RuleName } from "../sync-callback.js";
import type { RevalidationContext } from "./revalidation.js";
import type { ChannelSettings } from "./session-channels.js";
import type { IdTokens } from "../sse/id-token.js";
import type { SessionLimits } from "./session-state.js";
import type { SlowConsumerPolicy } from "../backpressure/slow-consumer-policy.js";
import type { Ticker } from "./ticker.js";
import type { CreateTransport } from "../subscriptions/transport.js";

export interface SessionSettings extends SessionLimits, ChannelSettings {
  readonly heartbeatMs: number | false;
  readonly retryMs: number;
  readonly maxEventBytes: number;
  readonly maxReplayEvents: number;
  readonly slowConsumer: SlowConsumerPolicy;
}

/** The parts of the service that a session uses. */
export interface SessionContext<Session = unknown> {
  readonly settings: SessionSettings;
  readonly clock: Clock;
  readonly slices: Slices;
  readonly createTransport: CreateTransport;
  readonly history: HistoryPort;
  /** Signs the ids of streams whose clients may not resume from any place. `null` without the option `secret`. */
  readonly idTokens: IdTokens | null;
  /** Limits the buffered bytes of all sessions together. */
  readonly budget: BufferBudget;
  /** Called when a client gets a gap for these channels. */
  readonly onGap: (reason: GapReason, channels: readonly string[]) => void;
  /** Called when a rule of a stream fails. */
  readonly onRuleFailure: (rule: RuleName) => void;
  /** Throws `INVALID_CHANNEL` or `FORBIDDEN` if a session cannot have this channel. */
  readonly assertChannel: (name: unknown) => void;
  /** For the checks of the rights of open streams. */
  readonly revalidation: RevalidationContext;
  /** The ticker of all sessions with this heartbeat interval. */
  readonly tickerOf: (heartbeatMs: number) => Ticker;
  /** Returns the cause of an error, if it is known: a subscription may time out because Redis is unavailable. */
  readonly explain: (fault: RedisSseError) => RedisSseError;
  /** Called once, when the session starts to close. */
  readonly onClosing: (session: Session) => void;
  readonly onClosed: (session: Session) => void;
}

/** Counters of one session. Times are `Clock.now()`, and sizes are in bytes. */
export interface SessionStatistics {
  /** When the session was created. */
  readonly openedAt: number;
  /** Events written to the client, including gaps. `connected` and `closing` do not count. */
  readonly messagesSent: number;
  /** Bytes written to the sink. */
  readonly bytesSent: number;
  /**
   * Events that were never written.
   *
   * They arrived while the session was closing, or were still buffered when it closed, or `slowConsumer` dropped them.
   */
  readonly messagesDropped: number;
  /**
   * Bytes that are buffered for the client.
   *
   * The maximum is `limits.maxBufferedBytes`. If `slowConsumer` drops events, one more event may be buffered.
   */
  readonly bufferedBytes: number;
}
