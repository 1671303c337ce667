import { describeClient } from "../clients/client-suite.js";
import { describeTickets } from "../clients/ticket-suite.js";
import { need } from "../support/prerequisites.js";
import { ClientBrowser, createBrowserClients } from "./browser-clients.js";

describe("SSE clients in a browser", () => {
  let browser: ClientBrowser;

  before(async function () {
    browser = await ClientBrowser.start(await need("chromium", this));
  });

  after(() => browser?.stop());

  const clients = createBrowserClients(() => browser);
  for (const client of clients) describeClient(client);
  describeTickets(clients[0]!);
});
