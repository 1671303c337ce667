import { expect } from "chai";
import type { Redis } from "ioredis";
import type { Context } from "mocha";

import { historyKeys, type HistoryKeys } from "../../lib/history/history-keys.js";
import {
  publishToLog,
  readFromLog,
  type PublishArguments,
  type PublishReply,
  type ReadArguments,
} from "../../lib/history/history-scripts.js";
import { parseMessage } from "../../lib/events/inbound-event.js";
import { eventually } from "../support/eventually.js";

export interface HistoryServer {
  /** Creates another connection to the server. */
  connect(): Redis;
  stop(): Promise<void>;
}

const PREFIX = "test:";
const EPOCHS = ["e0000001", "e0000002", "e0000003"] as const;

/** Tests the scripts of a channel's history on any server. */
export function describeHistory(name: string, start: (context: Context) => Promise<HistoryServer>): void {
  describe(`history on ${name}`, () => {
    let server: HistoryServer;
    let client: Redis;
    let channel: string;
    let keys: HistoryKeys;
    let channels = 0;
    let sequence = 0;

    before(async function () {
      server = await start(this);
      client = server.connect();
    });

    after(async () => {
      await client?.quit();
      await server?.stop();
    });

    beforeEach(() => {
      channel = `channel ${channels++}`;
      keys = historyKeys(PREFIX, channel);
    });

    const publish = (
      data: string,
      given: Partial<PublishArguments> = {},
      over = client,
    ): Promise<PublishReply> =>
      publishToLog(over, historyKeys(PREFIX, given.channel ?? channel), {
        channel,
        event: "",
        data,
        ending: "",
        epoch: EPOCHS[0],
        maxLength: 1_000,
        maxAgeMs: 3_600_000,
        producer: "somebody",
        sequence: ++sequence,
        previous: null,
        writer: "",
        finite: false,
        ...given,
      });

    const readWithStamps = async (given: Partial<ReadArguments> = {}) => {
      const { entries, ...state } = await readFromLog(client, keys, {
        channel,
        epoch: EPOCHS[0],
        after: 0,
        maxEvents: 256,
        maxBytes: 100_000,
        maxAgeMs: 3_600_000,
        ...given,
      });
      return { ...state, entries: entries() };
    };

    /** Reads the log without stamps, because the tests cannot know them. */
    const read = async (given: Partial<ReadArguments> = {}) => {
      const { stamp: _, entries, ...state } = await readWithStamps(given);
      return {
        ...state,
        entries: entries.map(({ stamp: _stamp, previousStamp: _previous, ...entry }) => entry),
      };
    };

    const offsets = async (given: Partial<ReadArguments> = {}): Promise<readonly number[]> =>
      (await read(given)).entries.map(({ offset }) => offset);

    /** Collects the raw messages on the channel until it is stopped. */
    const listen = async (): Promise<{ messages: string[]; stop: () => Promise<unknown> }> => {
      const listener = server.connect();
      const messages: string[] = [];
      listener.on("message", (_: string, message: string) => messages.push(message));
      await listener.subscribe(channel);
      return {
        messages,
        stop: async () => {
          await listener.unsubscribe(channel);
          await listener.quit();
        },
      };
    };

    it("counts offsets from 1 and reports them to publishers, readers and subscribers", async () => {
      const heard = await listen();
      for (const [index, data] of ["a", "b\nc", ""].entries()) {
        expect(await publish(data, { event: index === 1 ? "news" : "" })).to.deep.include({
          status: "ok",
          epoch: EPOCHS[0],
          offset: index + 1,
          receivers: 1,
        });
      }
      await eventually(() => expect(heard.messages).to.have.length(3));
      const { entries: kept } = await readWithStamps();
      expect(heard.messages.map(parseMessage)).to.deep.equal(
        kept.map(({ event, data, ...place }) => ({ event, data, position: { epoch: EPOCHS[0], ...place } })),
      );
      await heard.stop();
      const { at: _, ...state } = await read();
      expect(state).to.deep.equal({
        isInvalid: false,
        first: 1,
        epoch: EPOCHS[0],
        top: 3,
        ending: "",
        finite: false,
        entries: [
          { offset: 1, event: undefined, data: "a" },
          { offset: 2, event: "news", data: "b\nc" },
          { offset: 3, event: undefined, data: "" },
        ],
      });
    });

    it("stores a stamp for each event and the stamp of the previous event", async () => {
      const replies = [await publish("a"), await publish("b"), await publish("c", { finite: true })];
      replies.push(await publish("d", { ending: "completed" }));
      const { stamp, entries } = await readWithStamps();
      expect(entries.map((entry) => entry.stamp)).to.deep.equal(
        replies.map((reply) => reply.status === "ok" && reply.stamp),
      );
      for (const entry of entries) expect(entry.stamp).to.be.within(0, 9_999_999);
      expect(entries.map(({ previousStamp }) => previousStamp)).to.deep.equal([
        0,
        ...entries.slice(0, -1).map((entry) => entry.stamp),
      ]);
      expect(stamp).to.equal(entries.at(-1)!.stamp);
      expect(await readWithStamps({ after: 4 }), "with no entry").to.deep.include({ stamp, entries: [] });
    });

    it("stores a loss mark instead of the previous stamp after an acknowledged event was lost", async () => {
      const stamps = async (): Promise<readonly boolean[]> => {
        const { entries } = await readWithStamps();
        return entries.slice(1).map(({ previousStamp }, index) => previousStamp === entries[index]!.stamp);
      };
      await publish("a");
      const epoch = EPOCHS[0];
      await publish("b", { previous: { epoch, sequence } });
      const publishBehindLost = (
        data: string,
        epochOfLost: string,
        given: Partial<PublishArguments> = {},
      ) => {
        sequence += 5;
        return publish(data, { previous: { epoch: epochOfLost, sequence }, ...given });
      };
      await publishBehindLost("of another log", EPOCHS[1]);
      await publishBehindLost("c", epoch);
      await publishBehindLost("d", epoch, { finite: true });
      const acknowledged = { epoch, sequence };
      sequence += 5;
      await publish("behind others that failed", { previous: acknowledged });
      expect(await stamps()).to.deep.equal([true, true, false, false, true]);
      const { entries, stamp } = await readWithStamps();
      expect(entries[3]!.previousStamp).to.equal(1);
      expect(stamp).to.equal(entries.at(-1)!.stamp);
    });

    it("rejects an event that arrives before its predecessor", async () => {
      await publish("a");
      const [before, ahead] = [sequence + 1, { sequence: sequence + 2, previous: "under-way" } as const];
      expect(await publish("c", ahead)).to.deep.equal({ status: "early" });
      expect(await publish("b", { sequence: before })).to.deep.include({ status: "ok", offset: 2 });
      expect(await publish("c", ahead)).to.deep.include({ status: "ok", offset: 3 });
      expect((await read()).entries.map(({ data }) => data)).to.deep.equal(["a", "b", "c"]);
    });

    it("continues after an event without a stamp and after an invalid stamp", async () => {
      await publish("a");
      await client.xadd(keys.log, "2", "e", "", "d", "by another program");
      await client.hset(keys.position, "o", "2", "s", "no stamp");
      await publish("c");
      const { entries } = await readWithStamps();
      expect(entries.map(({ offset }) => offset)).to.deep.equal([1, 2, 3]);
      expect(entries[1]).to.deep.include({ stamp: 0, previousStamp: 0 });
      expect(entries[2]!.previousStamp).to.equal(0);
      await client.hset(keys.position, "e", "broken", "s", "1000000");
      await publish("anew", { epoch: EPOCHS[1] });
      expect((await readWithStamps({ epoch: EPOCHS[1] })).entries[0]).to.deep.include({
        offset: 1,
        previousStamp: 0,
      });
    });

    it("keeps only the later event at each offset if another program sets the offset back", async () => {
      for (const data of ["1", "2", "3"]) await publish(data);
      await client.hset(keys.position, "o", "2");
      await publish("3 again");
      await publish("4");
      const { entries, top } = await read();
      expect(top).to.equal(4);
      expect(entries.map(({ offset }) => offset)).to.deep.equal([1, 2, 3, 4].slice(-entries.length));
      expect(entries.slice(-2).map(({ data }) => data)).to.deep.equal(["3 again", "4"]);
    });

    it("stores any text unchanged and separates the entries correctly", async () => {
      const odd = [
        "",
        "\u001e",
        "\u001esse1\n\n\nx",
        "1 completed ",
        " ",
        "\n\u001e\n",
        "\r\n\0\u2028",
        "%s é😀",
      ];
      for (const data of odd)
        expect(await publish(data, { event: "two  words" })).to.include({ status: "ok" });
      expect(await publish("last", { event: " ", ending: "completed" })).to.include({ status: "ok" });
      const { entries } = await read();
      expect(entries).to.deep.equal([
        ...odd.map((data, index) => ({ offset: index + 1, event: "two  words", data })),
        { offset: odd.length + 1, event: " ", data: "last", ending: "completed" },
      ]);
    });

    it("does not treat an unknown field of another program as an ending", async () => {
      await publish("first");
      await client.xadd(keys.log, "2", "e", "news", "d", "second", "end", "completed or so");
      await client.hset(keys.position, "o", "2");
      expect((await read()).entries[1]).to.deep.equal({ offset: 2, event: "news", data: "second" });
    });

    it("assigns every offset exactly once to concurrent publishers", async () => {
      const clients = [server.connect(), server.connect(), server.connect()];
      const heard = await listen();
      const replies = await Promise.all(
        clients.flatMap((over, producer) =>
          Array.from({ length: 20 }, (_, index) =>
            publish(
              `${producer} ${index}`,
              { producer: `p${producer}`, sequence: index + 1, epoch: EPOCHS[producer]! },
              over,
            ),
          ),
        ),
      );
      const epochs = new Set(replies.map((reply) => (reply.status === "ok" ? reply.epoch : reply.status)));
      expect(epochs.size, "one epoch").to.equal(1);
      const expected = Array.from({ length: 60 }, (_, index) => index + 1);
      const places = replies.map((reply) => (reply.status === "ok" ? reply.offset! : NaN));
      expect(places.toSorted((a, b) => a - b)).to.deep.equal(expected);
      expect(await offsets({ epoch: [...epochs][0]! })).to.deep.equal(expected);
      await eventually(() => expect(heard.messages).to.have.length(60));
      expect(heard.messages.map((message) => parseMessage(message)?.position?.offset)).to.deep.equal(
        expected,
      );
      await heard.stop();
      for (const each of clients) await each.quit();
    });

    it("keeps at most maxLength events and their offsets", async () => {
      for (let count = 0; count < 12; count++) await publish("x", { maxLength: 5 });
      expect(await offsets()).to.deep.equal([8, 9, 10, 11, 12]);
      expect(await offsets({ after: 3 }), "from the first kept event").to.deep.equal([8, 9, 10, 11, 12]);
      expect((await read()).top).to.equal(12);
      await publish("x", { maxLength: 1 });
      expect(await offsets()).to.deep.equal([13]);
    });

    it("drops old events, but none before maxAgeMs", async () => {
      const maxAgeMs = 120;
      const begun = Date.now();
      await publish("old", { maxAgeMs });
      await eventually(async () => {
        await publish("new", { maxAgeMs });
        const { top, entries } = await read();
        // Checks after each event, because on a slow machine all events may be old at a later check.
        expect(entries.at(-1)?.offset, "the newest stays").to.equal(top);
        expect(entries[0]!.offset).to.be.greaterThan(1);
      });
      expect(Date.now() - begun, "kept for at least maxAgeMs").to.be.at.least(maxAgeMs - 1);
    });

    it("expires an idle log and still remembers its offset", async () => {
      await publish("x", { maxAgeMs: 60 });
      await eventually(async () => expect(await client.exists(keys.log)).to.equal(0));
      expect(await read()).to.deep.include({ epoch: EPOCHS[0], top: 1, entries: [] });
      expect(await publish("y")).to.deep.include({ epoch: EPOCHS[0], offset: 2 });
      expect(await client.pttl(keys.position), "of the position").to.be.greaterThan(86_000_000);
    });

    it("sets an expiry on every key", async () => {
      await publish("x", { maxAgeMs: 10_000 });
      expect(await client.pttl(keys.log)).to.be.within(14_000, 15_000);
      expect(await client.pttl(keys.position)).to.be.within(86_400_000 + 14_000, 86_400_000 + 15_000);
    });

    it("stores a resent event only once and returns its offset", async () => {
      const heard = await listen();
      const first = { sequence: 7, producer: "p" };
      const reply = await publish("a", first);
      await publish("b", { sequence: 8, producer: "p" });
      await publish("c", { sequence: 7, producer: "another" });
      expect(await publish("a", first)).to.deep.equal({ ...reply, receivers: 0 });
      expect(await publish("b", { sequence: 8, producer: "p" })).to.deep.include({ offset: 2, receivers: 0 });
      await publish("last");
      await eventually(() => expect(heard.messages.at(-1)).to.match(/last$/));
      expect(heard.messages).to.have.length(4);
      expect((await read()).entries.map(({ data }) => data)).to.deep.equal(["a", "b", "c", "last"]);
      await heard.stop();
    });

    it("returns no offset for a resent event that has been dropped", async () => {
      await publish("a", { sequence: 1, producer: "q", maxLength: 1 });
      await publish("b", { sequence: 2, producer: "q", maxLength: 1 });
      const again = await publish("a", { sequence: 1, producer: "q", maxLength: 1 });
      expect(again).to.deep.include({ status: "ok", offset: null, receivers: 0 });
      expect(await offsets()).to.deep.equal([2]);
    });

    it("rejects events after the end of a channel, but accepts the resent end", async () => {
      await publish("a", { finite: true });
      expect((await read()).finite).to.equal(true);
      const end = { sequence: 50, producer: "e", ending: "completed" } as const;
      await publish("z", end);
      expect(await publish("late")).to.deep.equal({ status: "completed" });
      expect(await publish("late", { ending: "broken" })).to.deep.equal({ status: "completed" });
      expect(await publish("z", end)).to.deep.include({ status: "ok", offset: 2 });
      const { ending, entries, top } = await read();
      expect({ ending, top }).to.deep.equal({ ending: "completed", top: 2 });
      expect(entries.map((entry) => entry.ending)).to.deep.equal([undefined, "completed"]);
    });

    it("limits a page in bytes and returns at least one event", async () => {
      for (let count = 0; count < 10; count++) await publish("x".repeat(100));
      expect(await offsets({ maxBytes: 1 })).to.deep.equal([1]);
      expect(await offsets({ maxBytes: 100 })).to.deep.equal([1]);
      expect(await offsets({ maxBytes: 101 })).to.deep.equal([1, 2]);
      expect(await offsets({ maxBytes: 301, after: 5 })).to.deep.equal([6, 7, 8, 9]);
    });

    it("reads a whole log page by page for any page size", async () => {
      for (let count = 0; count < 120; count++) await publish("x".repeat(count % 50), { maxLength: 100 });
      for (const page of [{ maxBytes: 40 }, { maxBytes: 500 }, {}, { maxEvents: 7 }]) {
        const all: number[] = [];
        for (let after = 0; after < 120; after = all.at(-1)!) {
          const read = await offsets({ after, ...page });
          if ("maxEvents" in page) expect(read.length).to.be.at.most(page.maxEvents);
          all.push(...read);
        }
        expect(await offsets({ after: 120, ...page })).to.deep.equal([]);
        expect(all).to.deep.equal(Array.from({ length: 100 }, (_, index) => index + 21));
      }
    });

    it("returns the position without events for another epoch or for none", async () => {
      await publish("x");
      for (const epoch of ["", EPOCHS[2]]) {
        const { at, ...state } = await read({ epoch });
        expect(at).to.be.closeTo(Date.now(), 60_000);
        expect(state).to.deep.equal({
          isInvalid: false,
          epoch: EPOCHS[0],
          top: 1,
          ending: "",
          finite: false,
          first: 1,
          entries: [],
        });
      }
    });

    it("creates no key for a read and returns its time if the channel has no log", async () => {
      const { at, ...state } = await read({ epoch: "" });
      expect(at).to.be.closeTo(Date.now(), 60_000);
      expect(state).to.deep.include({ isInvalid: false, epoch: "", top: 0, first: 1, entries: [] });
      expect(await client.exists(keys.position, keys.log)).to.equal(0);
      expect(await publish("x")).to.deep.include({ epoch: EPOCHS[0], offset: 1 });
    });

    it("returns the oldest kept offset by length and by age without reading events", async () => {
      for (let count = 0; count < 5; count++) await publish("x", { maxLength: 3 });
      expect(await read({ epoch: "" })).to.deep.include({ top: 5, first: 3, entries: [] });
      await client.hset(keys.position, "c", `0 ${Date.now() - 2_000} 4 ${Date.now() - 1_500}`);
      expect(await read({ epoch: "", maxAgeMs: 1_200 })).to.deep.include({ top: 5, first: 5 });
      expect(await offsets({ maxAgeMs: 1_200 })).to.deep.equal([5]);
    });

    it("renews the expiry of the position only after half of it has passed", async () => {
      await publish("x");
      const life = await client.pttl(keys.position);
      const most = Math.ceil(life * 0.6);
      await client.pexpire(keys.position, most);
      await read();
      expect(await client.pttl(keys.position)).to.be.at.most(most);
      await client.pexpire(keys.position, Math.ceil(life * 0.4));
      await read();
      expect(await client.pttl(keys.position)).to.be.closeTo(life, 60_000);
    });

    describe("log that another program has damaged", () => {
      // The mock does not check the types of keys or the order of entries.
      before(function () {
        if (name === "ioredis-mock") this.skip();
      });

      const held = async (key: string): Promise<unknown> => {
        const type = await client.type(key);
        if (type === "string") return client.get(key);
        return type === "list" ? client.lrange(key, 0, -1) : client.hgetall(key);
      };

      const changes: Readonly<Record<string, (keys: HistoryKeys) => Promise<unknown>>> = {
        "into text": ({ position }) => client.set(position, "x"),
        "into a list": ({ position }) => client.del(position).then(() => client.rpush(position, "x")),
        "by an invalid epoch": ({ position }) => client.hset(position, "e", "xyz"),
        "by the epoch of no log": ({ position }) => client.hset(position, "e", "00000000"),
        "by an epoch in upper case": ({ position }) => client.hset(position, "e", "E0000001"),
        "without an epoch": ({ position }) => client.hdel(position, "e"),
        "without an offset": ({ position }) => client.hdel(position, "o"),
        "by letters as an offset": ({ position }) => client.hset(position, "o", "abc"),
        "by a negative offset": ({ position }) => client.hset(position, "o", "-5"),
        "by a fraction as an offset": ({ position }) => client.hset(position, "o", "1.5"),
        "by an offset in another notation": ({ position }) => client.hset(position, "o", "1e3"),
        "by an offset above the safe integers": ({ position }) =>
          client.hset(position, "o", "9007199254740993"),
        "by infinity as an offset": ({ position }) => client.hset(position, "o", "inf"),
      };
      for (const [how, change] of Object.entries(changes)) {
        it(`counts as no log and starts again with the next event if its position is changed ${how}`, async () => {
          await publish("old");
          await change(keys);
          const before = await held(keys.position);
          expect(await read()).to.deep.include({ isInvalid: true, epoch: "", top: 0, entries: [] });
          expect(await held(keys.position), "a read changes nothing").to.deep.equal(before);
          expect(await publish("new", { epoch: EPOCHS[1] })).to.deep.include({ status: "ok", offset: 1 });
          const { epoch, entries } = await read({ epoch: EPOCHS[1] });
          expect([epoch, entries.map(({ data }) => data)]).to.deep.equal([EPOCHS[1], ["new"]]);
        });
      }

      for (const [how, change] of Object.entries({
        "a log that is text": ({ log }: HistoryKeys) => client.set(log, "x"),
        "a log with a later entry": ({ log }: HistoryKeys) => client.xadd(log, "99", "e", "", "d", "x"),
      })) {
        it(`loses only earlier events with ${how}`, async () => {
          await publish("old");
          await change(keys);
          expect((await read()).entries.map(({ offset }) => offset)).to.not.include(99);
          expect(await publish("new")).to.deep.include({ status: "ok", offset: 2 });
          expect(await read()).to.deep.include({ isInvalid: false, top: 2, first: 2 });
          expect(await offsets()).to.deep.equal([2]);
          expect(await client.pttl(keys.log)).to.be.greaterThan(0);
        });
      }

      it("continues if its `end` field is invalid", async () => {
        await publish("a");
        await client.hset(keys.position, "end", "over");
        expect(await read()).to.deep.include({ isInvalid: false, top: 1, ending: "" });
        expect(await publish("b", { finite: true })).to.deep.include({ status: "ok", offset: 2 });
        expect(await offsets()).to.deep.equal([1, 2]);
      });
    });

    it("starts a new log with another epoch and without old events if its position is lost", async () => {
      for (let count = 0; count < 3; count++) await publish("old");
      await client.del(keys.position);
      expect(await publish("new", { epoch: EPOCHS[1] })).to.deep.include({ epoch: EPOCHS[1], offset: 1 });
      expect((await read({ epoch: EPOCHS[1] })).entries.map(({ data }) => data)).to.deep.equal(["new"]);
      await client.del(keys.position);
      expect(await read({ epoch: EPOCHS[1] })).to.deep.include({ epoch: "", top: 0, entries: [] });
      expect(await client.exists(keys.log), "a read does not delete it").to.equal(1);
    });

    it("continues with the next offset if only the log is lost", async () => {
      for (let count = 0; count < 3; count++) await publish("x");
      await client.del(keys.log);
      expect(await read()).to.deep.include({ epoch: EPOCHS[0], top: 3, entries: [] });
      expect(await publish("y")).to.deep.include({ offset: 4 });
      expect(await offsets()).to.deep.equal([4]);
    });

    it("marks a channel as broken once, at the first read after its writer's lease has expired", async () => {
      const heard = await listen();
      await publish("x", { finite: true });
      await client.hset(keys.position, "w", "lease", "wt", String(Date.now() + 3_600_000));
      expect(await read(), "as long as the lease holds").to.deep.include({ ending: "", top: 1 });
      await client.hset(keys.position, "wt", String(Date.now() - 1_000));
      const replies = await Promise.all([read(), read(), read()]);
      for (const reply of replies) expect(reply).to.deep.include({ ending: "broken", top: 2 });
      expect(replies[0].entries.at(-1)).to.deep.equal({
        offset: 2,
        event: undefined,
        data: "",
        ending: "broken",
      });
      await eventually(() => expect(heard.messages).to.have.length(2));
      expect(parseMessage(heard.messages[1]!)).to.deep.include({ ending: "broken" });
      expect(await publish("late", { writer: "lease" })).to.deep.equal({ status: "completed" });
      await heard.stop();
    });

    it("does not change a completed channel even if its writer's lease has expired", async () => {
      await publish("x", { ending: "completed" });
      await client.hset(keys.position, "w", "lease", "wt", "1");
      expect(await read()).to.deep.include({ ending: "completed", top: 1 });
    });

    it("rejects a writer that does not own the channel", async () => {
      await publish("x");
      expect(await publish("y", { writer: "lease" })).to.deep.equal({ status: "lost" });
      await client.hset(keys.position, "w", "another", "wt", String(Date.now() + 3_600_000));
      expect(await publish("y", { writer: "lease" })).to.deep.equal({ status: "taken" });
      const own = { writer: "another", producer: "another" };
      expect(await publish("y", { ...own, sequence: 1 })).to.deep.include({ status: "ok", offset: 2 });
      expect(await publish("y", { ...own, sequence: 3 }), "one event is lost").to.deep.equal({
        status: "lost",
      });
      expect(await publish("", { ...own, sequence: 3, ending: "broken" })).to.deep.include({ offset: 3 });
    });

    it("forgets only producers that have been silent for long", async () => {
      await publish("x");
      await client.hset(
        keys.position,
        "p:gone",
        `9 ${Date.now() - 700_000}`,
        "p:here",
        `9 ${Date.now()}`,
        // The next checkpoint is due, and with it the cleanup of producers.
        "r",
        "0",
        "c",
        `0 ${Date.now() - 2_400_000} 0 ${Date.now() - 2_000_000}`,
      );
      await publish("y");
      expect((await read()).top).to.equal(2);
      expect(await client.hkeys(keys.position))
        .to.include.members(["p:here", "p:somebody"])
        .and.not.include("p:gone");
    });
  });
}
