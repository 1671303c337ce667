import { describeClient } from "../clients/client-suite.js";
import { need } from "../support/prerequisites.js";
import { ClientBrowser, createBrowserClients } from "./browser-clients.js";

describe("SSE clients in a browser", () => {
  let browser: ClientBrowser;

  before(async function () {
    browser = await ClientBrowser.start(await need("chromium", this));
  });

  after(() => browser?.stop());

  for (const client of createBrowserClients(() => browser)) describeClient(client);
});
