import { createLog, printable } from "../log.js";
import type { TeardownStage } from "./teardown.js";
import type { Transport } from "../subscriptions/transport.js";

const log = createLog("session");

/** How a session gives its subscriptions and its connection back: unsubscribe, close, reset. */
export function stagesOf(transport: Transport, channels: readonly string[]): readonly TeardownStage[] {
  return [
    {
      name: "unsubscribe",
      run: () => transport.unsubscribe(channels),
      onDone: () => channels.forEach((channel) => log("[SSE] unsubscribed: %s", printable(channel))),
      onFault: (fault) => log("[SSE] unsubscribe failed (closing all the same): %s", fault.message),
    },
    {
      name: "close",
      run: () => transport.close(),
      onFault: (fault) => log("[SSE] close failed (resetting all the same): %s", fault.message),
    },
    {
      name: "reset",
      run: () => transport.reset(),
      onFault: (fault) => log("[SSE] reset failed: %s", fault.message),
    },
  ];
}
