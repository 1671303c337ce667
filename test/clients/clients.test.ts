import { describeClient } from "./client-suite.js";
import { eventsource2, eventsource4, eventsourceClient, launchDarkly } from "./node-clients.js";

describe("SSE clients in Node.js", () => {
  for (const client of [eventsource2, eventsource4, eventsourceClient, launchDarkly]) describeClient(client);
});
