import type { RightsPort } from "../../lib/sessions/session-manager.js";

/** Rights that nobody revokes. */
export const noRevocations: RightsPort = {
  follow: () => {},
  applied: 0,
  isBlocked: () => false,
  isRevokedSince: () => false,
};
