/** In the order in which they run, and are reported. */
export const scenarioNames = [
  "burst",
  "single",
  "per-user",
  "wide",
  "history",
  "publish",
  "reconnect",
  "stalled",
  "idle",
  "connect",
  "memory",
  "smooth-event",
  "smooth-storm",
  "smooth-rules",
  "smooth-back",
  "smooth-resume",
  "queue-add",
  "queue-process",
  "queue-pick-up",
] as const;

export type ScenarioName = (typeof scenarioNames)[number];
