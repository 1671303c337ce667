import { expect } from "chai";

import { RedisSseError, type RedisSse } from "../../lib/index.js";
import { taskCancel, type TaskCancelOptions } from "../../middleware/express.js";
import { eventually } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import { recordingLogger } from "../support/recording-logger.js";
import { openStream, type SseClient } from "../support/sse-client.js";
import { startApp, type TestApp } from "../support/test-app.js";

const LISTED = "https://app.example.com";

/** A form of another site whose cookies the browser sends. It navigates, as a link does. */
const FORM = {
  "Sec-Fetch-Site": "cross-site",
  "Sec-Fetch-Mode": "navigate",
  "Sec-Fetch-Dest": "document",
  Cookie: "sid=1",
};

describeFaults("taskCancel()", (rig) => {
  let service: RedisSse;
  let app: TestApp;
  let id: string;

  async function start(
    options: TaskCancelOptions = {},
    resolver: () => string | Promise<string> = () => id,
  ): Promise<void> {
    const { logger } = recordingLogger();
    const limits = { resolverTimeoutMs: 1_000 };
    service = rig.connect({ logger, limits });
    id = (await service.queue("media").enqueue("resize", null)).id;
    const mounted = taskCancel(resolver, { service, ...options });
    const started = await startApp((router) => router.use("/cancel", mounted));
    rig.undo(() => started.close());
    app = started;
  }

  /** Not with `fetch()`, which sets the headers of a browser itself. */
  async function ask(headers: Record<string, string> = {}, method = "POST"): Promise<SseClient> {
    const answer = await openStream(`${app.url}/cancel`, { method, headers });
    await answer.ended;
    return answer;
  }

  const bodyOf = ({ text }: SseClient): unknown => JSON.parse(text);

  const stateOf = async (): Promise<unknown> => (await service.queue("media").get(id))?.status;

  it("answers 503 while Redis is unavailable, and cancels the task after that", async () => {
    await start();
    await rig.server.kill();
    const answer = await ask();
    expect(answer.status).to.equal(503);
    expect(Number(answer.headers["retry-after"])).to.be.within(1, 10);
    expect(bodyOf(answer)).to.have.nested.property("error.code");
    await rig.server.boot();
    await start();
    expect(bodyOf(await ask())).to.deep.equal({ status: "cancelled" });
  });

  it("answers 503 if the resolver does not finish in time, and passes its errors to the app", async () => {
    await start({}, () => new Promise(() => {}));
    expect((await ask()).status).to.equal(503);
    await start({}, () => Promise.reject(new RedisSseError("REDIS_UNAVAILABLE", "gone")));
    expect((await ask()).status).to.equal(503);
    await start({}, () => Promise.reject(new Error("no such session")));
    expect((await ask()).status).to.equal(500);
    expect(app.errors.map((error) => (error as Error).message)).to.deep.equal(["no such session"]);
  });

  it("refuses a page of another site that sends cookies, also if its form navigates", async () => {
    await start();
    for (const headers of [FORM, { ...FORM, "Sec-Fetch-Mode": "cors", Origin: LISTED }]) {
      const answer = await ask(headers);
      expect(answer.status).to.equal(403);
      expect(bodyOf(answer)).to.have.nested.property("error.code", "CROSS_SITE");
    }
    expect(await stateOf()).to.equal("queued");
    expect((await ask({ ...FORM, "Sec-Fetch-Site": "same-origin" })).status).to.equal(200);
  });

  it("answers the pages of allowed origins, and their preflight requests", async () => {
    await start({ allowOrigins: [LISTED] });
    const headers = { "Sec-Fetch-Site": "cross-site", Cookie: "sid=1", Origin: LISTED };
    const preflight = await ask({ ...headers, "Access-Control-Request-Method": "DELETE" }, "OPTIONS");
    expect(preflight.status).to.equal(204);
    expect(preflight.headers["access-control-allow-methods"]).to.equal("POST, DELETE");
    const answer = await ask(headers, "DELETE");
    expect(answer.headers["access-control-allow-origin"]).to.equal(LISTED);
    expect(bodyOf(answer)).to.deep.equal({ status: "cancelled" });
    await eventually(async () => expect(await stateOf()).to.equal("cancelled"));
  });
});
