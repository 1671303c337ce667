import type { RightsPort } from "../../lib/sessions/session-manager.js";

/** Rights that nobody revokes. */
export const noRevocations: RightsPort = {
  resolverCalled: () => {},
  assertNotBlocked: () => {},
  takeCallTime: () => undefined,
};
