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
] as const;

export type ScenarioName = (typeof scenarioNames)[number];
