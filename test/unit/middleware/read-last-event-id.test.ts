import { expect } from "chai";

import { lastEventIdOf } from "../../../middleware/read-last-event-id.js";
import { startApp, type TestApp } from "../../support/test-app.js";

describe("lastEventIdOf()", () => {
  let app: TestApp;

  beforeEach(async () => {
    app = await startApp((router) => {
      router.use("/at", (req, res) => void res.json({ id: lastEventIdOf(req) ?? null }));
    });
  });

  afterEach(() => app.close());

  async function ask(query: string, header?: string): Promise<unknown> {
    const headers = header === undefined ? {} : { "Last-Event-ID": header };
    const response = await fetch(`${app.url}/at${query}`, { headers });
    return ((await response.json()) as { id: unknown }).id;
  }

  for (const parser of ["simple", "extended", false, () => ({ lastEventId: "of the app" })] as const) {
    const what = typeof parser === "function" ? "of the app" : JSON.stringify(parser);

    it(`reads the last non-empty value, and treats objects and arrays as malformed, with query parser ${what}`, async () => {
      app.app.set("query parser", parser);
      expect(await ask("?lastEventId=A")).to.equal("A");
      expect(await ask("?lastEventId=A&x=1&lastEventId=B")).to.equal("B");
      expect(await ask("?lastEventId=A&lastEventId=B&lastEventId=")).to.equal("B");
      const many = Array.from({ length: 30 }, (_, index) => `lastEventId=${index}`).join("&");
      expect(await ask(`?${many}`)).to.equal("29");
      expect(await ask("?lastEventId=a%3Ab")).to.equal("a:b");
      for (const query of ["lastEventId[x]=1", "lastEventId[]=A", "lastEventId%5Bx%5D=1&lastEventId=B"]) {
        expect(await ask(`?${query}`), query).to.equal("malformed");
      }
    });
  }

  it("prefers a non-empty header and returns undefined without a value", async () => {
    expect(await ask("?lastEventId=A", "H")).to.equal("H");
    expect(await ask("?lastEventId=A", "")).to.equal("A");
    for (const query of ["", "?", "?lastEventId=", "?lasteventid=A", "?x=lastEventId"]) {
      expect(await ask(query), query).to.equal(null);
    }
  });
});
