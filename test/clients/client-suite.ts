import { expect } from "chai";

import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import type { TcpProxy } from "../support/tcp-proxy.js";
import { ClientRig, type StreamServer } from "./client-rig.js";
import type { ClientEvent, ClientUnderTest, Connection } from "./client-under-test.js";
import { BEFORE_BLANK_LINE, CUT_DATA, inBlockWith, SAFE_CUTS, type PositionInBlock } from "./half-events.js";

const CONTROL: ReadonlySet<string> = new Set(["connected", "gap", "error", "closing"]);

/** Tests one client with every way in which a stream can end. It must get each acknowledged event once, in order. */
export function describeClient(client: ClientUnderTest): void {
  describe(client.name, function () {
    this.timeout(20_000);

    let rig: ClientRig;
    let count = 0;
    /** A channel that only this test uses. */
    let channel: string;

    before(async function () {
      rig = await ClientRig.start(await need("redis", this), client);
    });

    beforeEach(() => {
      channel = `channel:${++count}`;
    });

    afterEach(() => rig.reset());

    after(() => rig?.stop());

    it("gets `connected` and each kind of event as it was published", async () => {
      const { port } = await rig.serve();
      const connection = await rig.connect(port, channel);
      expect(JSON.parse(connection.events[0]!.data)).to.include({ recovered: false });
      const texts = [
        "one\n\nthree\nfour",
        "grüße 日本 🎉\u2028",
        " a space first",
        "",
        "\n\na line feed first",
      ];
      for (const data of texts) await rig.publisher.publish(channel, { data });
      await rig.publisher.publish(channel, { event: "update", data: { list: [1, "ü"], none: null } });
      const expected = texts.map((data) => ({ type: "message", data }));
      // fetch-event-source joins a line to the lines before it only if they are not empty.
      if (client.dropsLeadingLineFeeds) expected[4] = { type: "message", data: "a line feed first" };
      await expectEvents(connection, [...expected, { type: "update", data: '{"list":[1,"ü"],"none":null}' }]);
    });

    it("gets no event for a heartbeat", async () => {
      const server = await rig.serve({ heartbeatMs: 20 });
      const proxy = await rig.proxyTo(server);
      const connection = await rig.connect(proxy.port, channel);
      let heartbeats = 0;
      proxy.cutInReply((reply) => {
        if (/^[0-9a-f]+\r\n:\n/.test(reply.toString("latin1"))) heartbeats++;
        return -1;
      });
      await eventually(() => expect(heartbeats).to.be.greaterThan(2));
      await rig.publish(channel, "after");
      await expectUpdates(connection, ["after"]);
      expect(connection.events.map(({ type }) => type)).to.deep.equal(["connected", "update"]);
    });

    /** Cuts the connection in the block of the second event of three. */
    async function cutSecondOfThree(position: PositionInBlock): Promise<Connection> {
      const server = await rig.serve();
      const proxy = await rig.proxyTo(server);
      const connection = await rig.connect(proxy.port, channel);
      await rig.publish(channel, "before");
      await expectUpdates(connection, ["before"]);
      proxy.cutInReply(inBlockWith("first line", position));
      await rig.publish(channel, CUT_DATA, "after");
      await eventually(() => expect(server.requests).to.have.length.of.at.least(2));
      expect(proxy.cutPending).to.equal(false);
      return connection;
    }

    for (const [place, position] of Object.entries(SAFE_CUTS)) {
      it(`gets each event once if the connection breaks ${place}`, async () => {
        const connection = await cutSecondOfThree(position);
        await expectUpdates(connection, ["before", CUT_DATA, "after"]);
        expectNoGap(connection);
      });
    }

    if (client.storesIdEarly) {
      it("loses at most the event whose id line arrived without its blank line", async () => {
        const connection = await cutSecondOfThree(BEFORE_BLANK_LINE);
        const updates = (): readonly string[] => typesOf(connection, "update").map(({ data }) => data);
        await eventually(() => expect(updates().at(-1)).to.equal("after"));
        // The client sends the id of an event that it did not dispatch if it received the id line before the cut.
        expect([
          ["before", "after"],
          ["before", CUT_DATA, "after"],
        ]).to.deep.include(updates());
        expectNoGap(connection);
      });
    } else {
      it("gets each event once if the connection breaks before its blank line", async () => {
        const connection = await cutSecondOfThree(BEFORE_BLANK_LINE);
        await expectUpdates(connection, ["before", CUT_DATA, "after"]);
        expectNoGap(connection);
      });
    }

    if (client.keepsHalfEvents) {
      it("prepends the data lines of a half event to the next `connected`", async () => {
        const connection = await cutSecondOfThree((block) => block.indexOf("id: "));
        await expectUpdates(connection, ["before", CUT_DATA, "after"]);
        const [, { data }] = connection.events.filter(({ type }) => type === "connected") as [
          ClientEvent,
          ClientEvent,
        ];
        expect(data.slice(0, CUT_DATA.length + 1)).to.equal(`${CUT_DATA}\n`);
        expect(JSON.parse(data.slice(CUT_DATA.length + 1))).to.include({ recovered: true });
      });
    }

    it("gets each event once if the connection breaks after events that were filtered out", async () => {
      const server = await rig.serve({
        heartbeatMs: 20, // The id after a filtered event is sent instead of the next heartbeat.
        stream: { filter: ({ event }) => event !== "hidden" },
      });
      const proxy = await rig.proxyTo(server);
      const connection = await rig.connect(proxy.port, channel);
      await rig.publish(channel, "before");
      await expectUpdates(connection, ["before"]);
      let idOfHidden = "";
      proxy.cutInReply((reply) => {
        idOfHidden ||= /\r\nid: (.*)\n\n\r\n$/.exec(reply.toString("latin1"))?.[1] ?? "";
        return -1;
      });
      await rig.publisher.publish(channel, { event: "hidden", data: "1" });
      await eventually(() => expect(idOfHidden).to.not.equal(""));
      // An event without an id shows that the client has read the block before it.
      await rig.redis.admin.publish(channel, "plain");
      await eventually(() => expect(connection.events.at(-1)).to.have.property("data", "plain"));
      proxy.cut();
      await eventually(() => expect(server.requests).to.have.length.of.at.least(2));
      await rig.publish(channel, "after");
      await expectUpdates(connection, ["before", "after"]);
      expectNoGap(connection);
      const sent = server.requests[1]!.lastEventId;
      // If a client sends an older id, the same events are filtered out again.
      if (client.storesIdOfEmptyBlock) expect(sent).to.equal(idOfHidden);
      else expect(sent).to.not.be.oneOf(["", idOfHidden]);
      const empty = connection.events.filter(({ data }) => data === "");
      expect(empty).to.have.length(client.dispatchesEmptyBlocks ? 1 : 0);
    });

    it("gets each event once if Redis crashes and restarts", async () => {
      const { port } = await rig.serve();
      const connection = await rig.connect(port, channel);
      await rig.publish(channel, "1", "2");
      await rig.redis.kill();
      await rig.redis.boot();
      await rig.publish(channel, "3", "4");
      await expectUpdates(connection, ["1", "2", "3", "4"]);
      expectNoGap(connection);
    });

    it("reconnects after an `error` event until Redis is available again", async () => {
      const server = await rig.serve({ subscribeTimeoutMs: 200 });
      const proxy = await rig.proxyTo(server);
      const connection = await rig.connect(proxy.port, channel);
      await rig.publish(channel, "1", "2");
      await expectUpdates(connection, ["1", "2"]);
      await rig.redis.kill();
      proxy.cut();
      await eventually(() => {
        const errors = connection.events.filter(({ type }) => type === "error").map(({ data }) => data);
        expect(errors.join("\n")).to.include("REDIS_UNAVAILABLE");
      });
      await rig.redis.boot();
      await rig.publish(channel, "3", "4");
      await expectUpdates(connection, ["1", "2", "3", "4"]);
      expectNoGap(connection);
    });

    it("gets each event once if the server crashes and restarts", async () => {
      const first = await rig.serve();
      const connection = await rig.connect(first.port, channel);
      await rig.publish(channel, "1", "2");
      await first.crash();
      await rig.publish(channel, "3");
      const second = await rig.serve({ port: first.port });
      await eventually(() => expect(second.requests).to.not.be.empty);
      await rig.publish(channel, "4");
      await expectUpdates(connection, ["1", "2", "3", "4"]);
      expectNoGap(connection);
    });

    it("gets each event once if a new server takes over", async () => {
      const first = await rig.serve();
      const connection = await rig.connect(first.port, channel);
      await rig.publish(channel, "1", "2");
      first.stopListening();
      const second = await rig.serve({ port: first.port });
      await rig.publish(channel, "3");
      await first.service.drain({ timeoutMs: 2_000, spreadMs: 0 });
      await eventually(() => expect(second.requests).to.not.be.empty);
      await rig.publish(channel, "4");
      await expectUpdates(connection, ["1", "2", "3", "4"]);
      expectNoGap(connection);
      expect(endOf(connection)).to.deep.equal({ reason: "drain" });
    });

    /** Checks that a closed client sends no further request. */
    async function expectNoFurtherRequest(server: StreamServer, proxy: TcpProxy): Promise<void> {
      const requests = (): number => server.requests.filter((request) => request.channel === channel).length;
      const before = requests();
      // When another connection has reconnected twice, a closed one would have reconnected too.
      const other = await rig.connect(proxy.port, "other");
      for (const reconnects of [1, 2]) {
        proxy.cut();
        await eventually(() => expect(typesOf(other, "connected")).to.have.length(reconnects + 1));
      }
      expect(requests()).to.equal(before);
    }

    /** Completes the channel and waits until the client has stopped. */
    async function complete(cut?: (reply: Buffer) => number): Promise<Connection> {
      const server = await rig.serve();
      const proxy = await rig.proxyTo(server);
      const connection = await rig.connect(proxy.port, channel);
      await rig.publish(channel, "1", "2");
      await expectUpdates(connection, ["1", "2"]);
      if (cut !== undefined) proxy.cutInReply(cut);
      await rig.publisher.complete(channel, { event: "update", data: "3" });
      await eventually(() => expect(connection.closed).to.equal(true));
      expect(proxy.cutPending).to.equal(false);
      await expectUpdates(connection, ["1", "2", "3"]);
      await expectNoFurtherRequest(server, proxy);
      return connection;
    }

    it("gets each event of a completed channel and then stops", async () => {
      const connection = await complete();
      expect(endOf(connection)).to.deep.equal({ reason: "completed" });
    });

    it("stops if the connection breaks before it gets `closing`", async () => {
      await complete(inBlockWith("event: closing", () => 0));
    });

    it("stops after a 403 response", async () => {
      const server = await rig.serve({ forbidden: channel });
      const proxy = await rig.proxyTo(server);
      const connection = await rig.request(proxy.port, channel);
      await eventually(() => expect(connection.closed).to.equal(true));
      expect(connection.events).to.deep.equal([]);
      await expectNoFurtherRequest(server, proxy);
    });
  });
}

/** Waits until the publishers' events are exactly these. */
async function expectEvents(connection: Connection, expected: readonly ClientEvent[]): Promise<void> {
  const published = (): readonly ClientEvent[] => connection.events.filter(({ type }) => !CONTROL.has(type));
  await eventually(() => expect(published()).to.deep.equal(expected));
}

/** Waits until the `update` events are exactly these. The last one shows that no earlier event was repeated. */
async function expectUpdates(connection: Connection, expected: readonly string[]): Promise<void> {
  await eventually(() => {
    expect(typesOf(connection, "update").map(({ data }) => data)).to.deep.equal(expected);
  });
}

function expectNoGap(connection: Connection): void {
  expect(typesOf(connection, "gap")).to.deep.equal([]);
}

function typesOf({ events }: Connection, wanted: string): readonly ClientEvent[] {
  return events.filter(({ type }) => type === wanted);
}

function endOf(connection: Connection): unknown {
  return JSON.parse(typesOf(connection, "closing").at(-1)!.data);
}
