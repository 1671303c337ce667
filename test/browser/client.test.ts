import { expect } from "chai";

import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { ClientRig, Tab } from "./client-rig.js";
import { DevtoolsBrowser } from "./devtools-browser.js";
import { FaultyProxy } from "./faulty-proxy.js";

describe("redis-sse/client in three pages of a browser", function () {
  this.timeout(45_000);
  let rig: ClientRig;
  let devtools: DevtoolsBrowser;

  before(async function () {
    const chromium = await need("chromium", this);
    rig = await ClientRig.start(await need("redis", this), chromium);
    devtools = await DevtoolsBrowser.start(chromium);
  });

  afterEach(() => rig.closeTabs());

  after(async () => {
    await devtools?.stop();
    await rig?.stop();
  });

  async function expectStates(expected: readonly string[], tabs: readonly Tab[] = rig.tabs): Promise<void> {
    for (const tab of tabs) expect(await tab.states()).to.deep.equal(expected);
  }

  it("goes on after Redis was killed, also in a page that was opened meanwhile", async () => {
    await rig.openTabs();
    const before = [...rig.tabs];
    await rig.publish(5);
    await rig.redis.kill();
    const late = await rig.openTab();
    await rig.allAre("waiting", [late]);
    await rig.redis.boot();
    await rig.publish(5);
    await rig.allCaughtUp();
    // The server keeps its streams, and their heartbeats.
    await expectStates(["connecting", "open"], before);
    await expectStates(["connecting", "waiting REDIS_UNAVAILABLE", "connecting", "open"], [late]);
  });

  it("goes on after the server was killed", async () => {
    await rig.openTabs();
    await rig.publish(5);
    await rig.server.kill();
    await rig.allAre("waiting");
    await rig.publish(5);
    await rig.server.boot();
    await rig.allCaughtUp();
    await expectStates(["connecting", "open", "waiting network", "connecting", "open"]);
  });

  it("goes on after the network of a page was away", async () => {
    await rig.openTabs();
    const [away, ...others] = rig.tabs as readonly [Tab, ...Tab[]];
    const goOnline = await rig.goOffline(0);
    await rig.allAre("waiting", [away]);
    await rig.publish(5);
    await rig.allCaughtUp(others);
    await goOnline();
    await rig.allCaughtUp();
    await expectStates(["connecting", "open", "waiting offline", "connecting", "open"], [away]);
    await expectStates(["connecting", "open"], others);
  });

  it("catches up when the browser continues a page that it has frozen", async () => {
    const page = await devtools.open(`http://127.0.0.1:${rig.server.port}/`);
    const tab = new Tab((selector) => page.textOf(selector));
    await rig.allCaughtUp([tab]);
    await page.setState("frozen");
    const frozenAt = Date.now();
    const before = await tab.record();
    await rig.publish(5);
    await eventually(() => expect(Date.now() - frozenAt).to.be.greaterThan(1_000));
    expect(await tab.record()).to.deep.equal(before);
    await page.setState("active");
    await rig.allCaughtUp([tab]);
    await expectStates(["connecting", "open", "connecting", "open"], [tab]);
  });

  describe("behind a proxy", () => {
    let proxy: FaultyProxy;

    beforeEach(async () => {
      proxy = await FaultyProxy.start(rig.server.port);
      await rig.openTabs(proxy.port);
    });

    afterEach(() => proxy.close());

    it("goes on after the proxy answered 502 for 10 s", async () => {
      proxy.fail();
      const failedAt = Date.now();
      await rig.allAre("waiting");
      await rig.publish(5);
      await eventually(() => expect(Date.now() - failedAt).to.be.greaterThan(10_000), 12_000);
      proxy.restore();
      await rig.allCaughtUp();
      await expectStates([
        "connecting",
        "open",
        "waiting ended",
        "connecting",
        "waiting http-502",
        "connecting",
        "open",
      ]);
    });

    it("goes on after the proxy kept what the server sent", async () => {
      proxy.buffer();
      await rig.publish(5);
      await rig.allAre("connecting");
      proxy.restore();
      await rig.allCaughtUp();
      await expectStates(["connecting", "open", "connecting", "open"]);
    });
  });
});
