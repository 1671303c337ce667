import { BufferBudget } from "../../lib/backpressure/buffer-budget.js";
import { assertChannel } from "../../lib/events/channel-name.js";
import type { SessionContext, SessionSettings } from "../../lib/sessions/session-context.js";
import type { PubSubSession } from "../../lib/sessions/session.js";
import { Slices } from "../../lib/slices.js";
import { Ticker } from "../../lib/sessions/ticker.js";

type Context = SessionContext<PubSubSession>;

type Given = "clock" | "createTransport" | "history";

export interface ContextOptions extends Pick<Context, Given>, Partial<Omit<Context, Given | "settings">> {
  readonly settings?: Partial<SessionSettings>;
}

/** The context that a service gives its sessions. A test sets only the values it needs. */
export function sessionContext({ settings, clock, ...given }: ContextOptions): Context {
  const ticker = new Ticker(clock, 1_000);
  return {
    settings: {
      heartbeatMs: 15_000,
      retryMs: 2_000,
      slowConsumer: "disconnect",
      maxChannelsPerSession: 8,
      maxEventBytes: 1_000_000,
      maxReplayEvents: 10_000,
      maxBufferedBytes: 10_000_000,
      maxStallMs: 30_000,
      maxLifetimeMs: Infinity,
      subscribeTimeoutMs: 5_000,
      closeTimeoutMs: 2_000,
      ...settings,
    },
    clock,
    slices: new Slices(clock),
    onGap: () => {},
    onRuleFailure: () => {},
    budget: new BufferBudget(Infinity),
    assertChannel: (name) => assertChannel(name, "sse:"),
    revalidation: { clock, timeoutMs: 10_000, onFailure: () => {} },
    tickerOf: () => ticker,
    explain: (fault) => fault,
    onClosing: () => {},
    onClosed: () => {},
    idTokens: null,
    ...given,
  };
}
