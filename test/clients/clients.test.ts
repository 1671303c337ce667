import { describeClient } from "./client-suite.js";
import { eventsource2, eventsource4, eventsourceClient, launchDarkly } from "./node-clients.js";
import { describeTickets } from "./ticket-suite.js";

describe("SSE clients in Node.js", () => {
  for (const client of [eventsource2, eventsource4, eventsourceClient, launchDarkly]) describeClient(client);
  describeTickets(eventsource4);
});
