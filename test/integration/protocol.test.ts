import { randomUUID } from "node:crypto";

import { expect } from "chai";

import { parseMessage } from "../../lib/events/inbound-event.js";
import { isReservedEvent } from "../../lib/sse/frame.js";
import { need } from "../support/prerequisites.js";
import {
  blockOf,
  codesIn,
  paragraph,
  startForeignProgram,
  tableOf,
  type ForeignProgram,
  type Login,
} from "../support/protocol.js";
import { RedisServer } from "../support/redis-server.js";
import { parseBlocks } from "../support/event-reader.js";
import { openStream, type ReceivedEvent, type SseClient } from "../support/sse-client.js";
import { startStreamApp, type StreamApp } from "../support/stream-app.js";

const MAX_EVENT_BYTES = 1_000;
const HOUR_MS = 3_600_000;

/** The events of the application, without the control events of the library. */
const contents = (events: readonly ReceivedEvent[]): readonly string[] =>
  events.filter(({ event }) => !isReservedEvent(event)).map(({ event, data }) => `${event}: ${data}`);

/** The last id of the stream, with or without an event. */
const lastPlace = (client: SseClient): string =>
  parseBlocks(client.text).findLast(({ id }) => id?.startsWith("3."))!.id!;

const isData = (wanted: string) => (event: ReceivedEvent) => event.data === wanted;

describe("docs/protocol.md", () => {
  let server: RedisServer;
  let rig: StreamApp;
  let foreign: ForeignProgram;
  let channel: string;
  const clients: SseClient[] = [];
  const programs: ForeignProgram[] = [];

  before(async function () {
    server = await RedisServer.start(await need("redis", this));
    rig = await startStreamApp({ redis: server.url, limits: { maxEventBytes: MAX_EVENT_BYTES } });
    foreign = startForeignProgram(server.port);
  });

  beforeEach(() => {
    channel = `test:${randomUUID()}`;
  });

  afterEach(async () => {
    for (const client of clients.splice(0)) client.destroy();
    for (const program of programs.splice(0)) program.close();
    rig.leave();
    await server.admin.config("SET", "maxmemory", "0");
  });

  after(async () => {
    foreign?.close();
    await rig?.close();
    await server?.stop();
  });

  const keysOf = (name: string): [position: string, log: string] => [
    `sse:pos:{${name}}`,
    `sse:log:{${name}}`,
  ];

  const taskKeysOf = (id: string): [position: string, log: string] => [
    `sse:pos:{tasks}:task_progress:${id}`,
    `sse:log:{tasks}:task_progress:${id}`,
  ];

  async function openFrom(lastEventId: string, name = channel): Promise<SseClient> {
    const client = await openStream(`${rig.app.url}/stream?channel=${encodeURIComponent(name)}`, {
      headers: { "Last-Event-ID": lastEventId },
    });
    clients.push(client);
    return client;
  }

  /** Starts a program as a Redis user that has only these rights. */
  async function startProgramAs(username: string, ...rights: readonly string[]): Promise<ForeignProgram> {
    const login: Login = { username, password: "secret" };
    // In Redis 6.2, a new user may use all channels.
    const none = ["reset", "resetchannels", "on", `>${login.password}`];
    await server.admin.call("ACL", "SETUSER", username, ...none, ...rights);
    const program = startForeignProgram(server.port, login);
    programs.push(program);
    return program;
  }

  async function offsetsOf(name: string): Promise<readonly string[]> {
    return (await idsOf(name)).map((id) => id.split("-")[0]!);
  }

  async function idsOf(name: string): Promise<readonly string[]> {
    return (await server.admin.xrange(keysOf(name)[1], "-", "+")).map(([id]) => id);
  }

  /** The history of a channel in Redis, with its TTLs in hours. */
  async function stateOf(name: string): Promise<unknown> {
    const [position, log] = keysOf(name);
    const { admin } = server;
    const fields = await admin.hgetall(position);
    const times = await Promise.all([admin.pttl(position), admin.pttl(log)]);
    const expires = times.map((milliseconds) => Math.floor(milliseconds / HOUR_MS));
    return { fields, entries: await admin.xrange(log, "-", "+"), expires };
  }

  describe("the script", () => {
    it("delivers an event live, with an id", async () => {
      const client = await rig.openLive(channel);
      const reply = await foreign.publish(channel, { event: "news", data: "a\nb", epoch: "5f3a09c1" });
      expect([reply[0], ...reply.slice(2)]).to.deep.equal(["ok", "1", "1"]);
      const event = await client.next(({ event: type }) => type === "news");
      expect(event.data).to.equal("a\nb");
      expect(event.id).to.match(/^3\./);
      expect(await server.admin.hget(keysOf(channel)[0], "e")).to.equal(reply[1]);
    });

    it("starts a new log if there is only the rest of an earlier one", async () => {
      await server.admin.xadd(keysOf(channel)[1], "9", "e", "", "d", "of an earlier life");
      expect(await foreign.publish(channel, { data: "x", epoch: "5f3a09c1" })).to.deep.equal([
        "ok",
        "5f3a09c1",
        "1",
        "0",
      ]);
      expect(await offsetsOf(channel)).to.deep.equal(["1"]);
    });

    it("continues the library's log, and a client resumes over the events of both without a gap", async () => {
      const client = await rig.openLive(channel);
      await rig.service.publish(channel, { data: "ours 1" });
      await foreign.publish(channel, { data: "theirs 2" });
      const { id } = await client.next(isData("theirs 2"));
      client.destroy();
      for (let offset = 3; offset <= 9; offset++) {
        if (offset % 2 === 1) await rig.service.publish(channel, { data: `ours ${offset}` });
        else await foreign.publish(channel, { data: `theirs ${offset}`, producer: "them", sequence: offset });
      }
      const later = await openFrom(id!);
      await later.next(isData("ours 9"));
      await foreign.publish(channel, { data: "theirs 10" });
      await later.next(isData("theirs 10"));
      expect(contents(later.events)).to.deep.equal(
        [3, 4, 5, 6, 7, 8, 9, 10].map((offset) => `message: ${offset % 2 ? "ours" : "theirs"} ${offset}`),
      );
      expect(JSON.parse(later.events[0]!.data)).to.deep.include({ recovered: true });
      expect(later.events.some(({ event }) => event === "gap")).to.equal(false);
      expect(await offsetsOf(channel)).to.deep.equal(
        Array.from({ length: 10 }, (_, index) => `${index + 1}`),
      );
      const stamps = (await idsOf(channel)).map((each) => Number(each.split("-")[1]));
      for (const [index, each] of stamps.slice(1).entries()) {
        expect(Math.floor(each / 1e7), "the stamp of the event before it").to.equal(stamps[index]! % 1e7);
      }
      expect(Number(await server.admin.hget(keysOf(channel)[0], "s"))).to.equal(stamps.at(-1)! % 1e7);
    });

    it("publishes once per producer and sequence", async () => {
      const client = await rig.openLive(channel);
      const call = { data: "once", producer: "p-1", sequence: 7 };
      expect((await foreign.publish(channel, call))[0]).to.equal("ok");
      const before = await stateOf(channel);
      expect(await foreign.publish(channel, call)).to.deep.equal(["repeated"]);
      expect(await foreign.publish(channel, { ...call, sequence: 6 })).to.deep.equal(["repeated"]);
      expect(await stateOf(channel)).to.deep.equal(before);
      expect((await foreign.publish(channel, { ...call, producer: "p-2" }))[0]).to.equal("ok");
      expect((await foreign.publish(channel, { ...call, data: "last", sequence: 8 }))[0]).to.equal("ok");
      await client.next(isData("last"));
      expect(contents(client.events)).to.deep.equal(["message: once", "message: once", "message: last"]);
    });

    it("distinguishes a repeated completion from a late one", async () => {
      const call = { ending: "completed", producer: "p", sequence: 1 };
      expect((await foreign.publish(channel, call))[0]).to.equal("ok");
      expect(await foreign.publish(channel, call)).to.deep.equal(["repeated"]);
      expect(await foreign.publish(channel, { ...call, sequence: 2 })).to.deep.equal(["completed"]);
    });

    for (const last of [{ event: "done", data: "all of it" }, {}]) {
      it(`completes a channel ${"data" in last ? "with" : "without"} a last event`, async () => {
        const client = await rig.openLive(channel);
        await rig.service.publish(channel, { data: "first" });
        await foreign.publish(channel, { ...last, ending: "completed" });
        await client.ended;
        const all = ["message: first", ...("data" in last ? ["done: all of it"] : [])];
        expect(contents(client.events)).to.deep.equal(all);
        expect(client.events.at(-1)).to.deep.equal({
          event: "closing",
          data: '{"reason":"completed"}',
          id: "completed",
        });

        const late = await rig.open(channel);
        await late.ended;
        expect(contents(late.events)).to.deep.equal(all);
        expect(late.events.at(-1)!.data).to.equal('{"reason":"completed"}');

        expect(lastPlace(late)).to.equal(lastPlace(client));
        expect((await openFrom("completed")).status).to.equal(204);
        // An end without an event has no id, so the client gets the end again.
        const back = await openFrom(lastPlace(client));
        expect(back.status).to.equal("data" in last ? 204 : 200);
        await back.ended;
        expect(contents(back.events)).to.deep.equal([]);

        const before = await stateOf(channel);
        expect(await foreign.publish(channel, { data: "too late" })).to.deep.equal(["completed"]);
        expect(await refusal(rig.service.publish(channel, { data: "too late" }))).to.match(/^COMPLETED/);
        expect(await stateOf(channel)).to.deep.equal(before);
      });
    }

    it("marks a channel as broken, as the library does for a lost writer", async () => {
      const client = await rig.openLive(channel);
      await foreign.publish(channel, { ending: "broken" });
      await client.ended;
      expect(client.events.map(({ event }) => event)).to.deep.equal(["connected", "error", "closing"]);
      expect(JSON.parse(client.events[1]!.data)).to.deep.include({ code: "BROKEN" });
      expect(client.events[2]!.data).to.equal('{"reason":"broken"}');
    });

    it("makes a finite channel, which every client gets from its first event", async () => {
      await foreign.publish(channel, { data: "before anybody came", finite: true });
      await (await rig.openLive(channel)).next(isData("before anybody came"));
    });

    for (const isFresh of [true, false]) {
      it(`${isFresh ? "creates no key" : "leaves the keys unchanged"} if a Redis ACL rule denies the channel`, async () => {
        const weak = await startProgramAs("weak", "+@all", "~*", "&other:*");
        if (!isFresh) {
          await foreign.publish(channel, { data: "before", producer: "p", sequence: 1 });
          const [seconds = 0] = await server.admin.time();
          // With this age, a publisher sets a checkpoint. A denied call must not do so.
          await server.admin.hset(keysOf(channel)[0], "c", `0 ${seconds * 1000 - 5} 1 ${seconds * 1000 - 2}`);
        }
        const before = await stateOf(channel);
        const call = { data: "x", maxAgeMs: 1, producer: "p", sequence: 2 };
        expect(await refusal(weak.publish(channel, call))).to.match(/channel|NOPERM/);
        expect(await refusal(weak.publish(channel, { ...call, ending: "completed" }))).to.match(
          /channel|NOPERM/,
        );
        expect(await stateOf(channel)).to.deep.equal(before);
        const [, , offset] = await foreign.publish(channel, { ...call, maxAgeMs: HOUR_MS });
        expect(offset).to.equal(isFresh ? "1" : "2");
        expect(await offsetsOf(channel)).to.include(`${offset}`);
      });

      it(`${isFresh ? "creates no key" : "leaves the keys unchanged"} if Redis is out of memory`, async () => {
        if (!isFresh) await foreign.publish(channel, { data: "before" });
        const before = await stateOf(channel);
        await server.admin.config("SET", "maxmemory", "1");
        expect(await refusal(foreign.publish(channel, { data: "x" }))).to.match(/OOM/);
        await server.admin.config("SET", "maxmemory", "0");
        expect(await stateOf(channel)).to.deep.equal(before);
      });
    }

    describe("as an ACL user", () => {
      const listed = [...new Set(codesIn(paragraph("An ACL user needs")))];
      const commands = listed.filter((right) => /^[a-z|]+$/.test(right)).map((name) => `+${name}`);

      /** Prepares a channel whose next event drops inactive producers. */
      async function prepare(name: string): Promise<void> {
        const [position] = keysOf(name);
        const [seconds] = await server.admin.time();
        const now = Number(seconds) * 1000;
        await foreign.publish(name, {});
        const producers = { "p:gone": `9 ${now - 601_000}`, "p:here": `9 ${now - 500_000}` };
        await server.admin.hset(position, { o: "1023", ...producers });
      }

      it("works with the listed rights", async () => {
        expect(listed).to.include.members(["~sse:pos:*", "~sse:log:*", "eval", "pexpire"]);
        const program = await startProgramAs("least", "~sse:pos:*", "~sse:log:*", `&${channel}`, ...commands);
        expect((await program.publish(channel, { producer: "p", sequence: 1 }))[2]).to.equal("1");
        await prepare(channel);
        expect((await program.publish(channel, { ending: "completed" }))[2]).to.equal("1024");
        const fields = await server.admin.hkeys(keysOf(channel)[0]);
        expect(fields).to.include.members(["p:p", "p:here"]).and.not.include("p:gone");
      });

      // Client libraries need the other two, because they send a script only once.
      for (const right of commands.filter((name) => !/evalsha|script/.test(name))) {
        it(`needs ${right}`, async () => {
          const others = commands.filter((name) => name !== right);
          const program = await startProgramAs("lesser", "~*", "&*", ...others);
          const old = `${channel}:old`;
          await prepare(old);
          const call = { producer: "p", sequence: 1 };
          const answers = await Promise.all([
            refusal(program.publish(channel, call)),
            refusal(program.publish(old, call)),
          ]);
          expect(answers.join()).to.match(/NOPERM|permission|can't run/i);
        });
      }
    });

    const invalid: Readonly<Record<string, object>> = {
      "a reserved name": { event: "gap" },
      "LF in the event's name": { event: "a\nb" },
      "CR in the event's name": { event: "a\rb" },
      "an unknown ending": { ending: "over" },
      "a length of 0": { maxLength: 0 },
      "an invalid age": { maxAgeMs: "long" },
      "an epoch of 7 digits": { epoch: "5f3a09c" },
      "an epoch in upper case": { epoch: "5F3A09C1" },
      "a producer with a space": { producer: "a b", sequence: 1 },
      "a producer without a sequence": { producer: "a" },
      "a sequence of 0": { producer: "a", sequence: 0 },
    };
    for (const [what, call] of Object.entries(invalid)) {
      it(`refuses ${what}, and does nothing`, async () => {
        expect(await foreign.publish(channel, call)).to.deep.equal(["invalid"]);
        expect(await server.admin.exists(...keysOf(channel))).to.equal(0);
      });
    }

    it("reserves the same event names as the library", () => {
      const names = codesIn(tableOf("What a publisher must not do")[0]![0]!);
      expect(names).to.have.length(5);
      for (const name of names) {
        expect(isReservedEvent(name), name).to.equal(true);
        expect(blockOf("lua")).to.include(`${name} = true`);
      }
    });

    it("trims and expires a log like the library", async () => {
      const [seconds] = await server.admin.time();
      const now = Number(seconds) * 1000;
      const bounds = { maxLength: 5, maxAgeMs: HOUR_MS };
      const other = await startStreamApp({ redis: server.url, history: bounds });
      try {
        const publishers = {
          ours: (name: string) => other.service.publish(name, { data: "x" }),
          theirs: (name: string) => foreign.publish(name, { data: "x", ...bounds }),
        };
        for (const [who, publish] of Object.entries(publishers)) {
          const name = `${channel}:${who}`;
          const [position, log] = keysOf(name);
          for (let count = 0; count < 7; count++) await publish(name);
          expect(await offsetsOf(name), who).to.deep.equal(["3", "4", "5", "6", "7"]);
          expect(await server.admin.hget(position, "c"), who).to.match(/^0 (\d+) 0 \1$/);
          // Entries before the older checkpoint are trimmed. The newer checkpoint becomes the older one.
          await server.admin.hset(
            position,
            "c",
            `5 ${now - 1.1 * HOUR_MS} 6 ${now - 0.6 * HOUR_MS}`,
            "r",
            "0",
          );
          await server.admin.persist(position);
          await server.admin.persist(log);
          await publish(name);
          expect(await offsetsOf(name), who).to.deep.equal(["6", "7", "8"]);
          expect(await server.admin.hget(position, "c"), who).to.match(/^6 \d+ 7 \d+$/);
          expect(await server.admin.pttl(log), who).to.be.within(1.5 * HOUR_MS - 60_000, 1.5 * HOUR_MS);
          expect(await server.admin.pttl(position), who).to.be.within(
            25.5 * HOUR_MS - 60_000,
            25.5 * HOUR_MS,
          );
          // No checkpoint is old enough, and no new one is due.
          await server.admin.persist(log);
          await publish(name);
          expect(await offsetsOf(name), who).to.deep.equal(["6", "7", "8", "9"]);
          expect(await server.admin.pttl(log), who).to.equal(-1);
        }
      } finally {
        await other.close();
      }
    });
  });

  describe("the envelope", () => {
    interface Example {
      readonly message: string;
      readonly event: string | null;
      readonly data: string;
      readonly place?: { epoch: string; offset: number };
      readonly ending?: string;
    }
    const examples = JSON.parse(blockOf("json", "The envelope")) as readonly Example[];

    for (const { message: text, event, data, place, ending } of examples) {
      it(`reads ${JSON.stringify(text)}`, () => {
        expect(parseMessage(text)).to.deep.equal({
          event: event ?? undefined,
          data,
          ...(place && { position: place }),
          ...(ending !== undefined && { ending }),
        });
      });
    }

    it("has the bytes that the page shows", () => {
      const shown = paragraph("```text\n1e").split("\n")[1]!;
      expect(Buffer.from(shown.replaceAll(" ", ""), "hex").toString()).to.equal(examples[2]!.message);
    });

    it("sets no id if it has no position, like plain text", async () => {
      const client = await rig.openLive(channel);
      expect(await foreign.command("PUBLISH", channel, "plain")).to.equal("1");
      for (const { message: text } of examples.slice(1, 4)) await foreign.command("PUBLISH", channel, text);
      await client.next(isData("first\nsecond"));
      expect(client.events.slice(1)).to.deep.equal([
        { event: "message", data: "plain", id: undefined },
        { event: "message", data: '{"a":1}', id: undefined },
        { event: "news", data: "hello", id: undefined },
        { event: "message", data: "first\nsecond", id: undefined },
      ]);
      expect(await server.admin.exists(keysOf(channel)[1])).to.equal(0);
    });
  });

  describe("the tables", () => {
    it("name the keys of every kind of channel", async () => {
      const rows = tableOf("Keys");
      expect(rows).to.have.length(3);
      for (const [rule, , example = "", keys = ""] of rows) {
        const [name] = codesIn(example);
        await rig.service.publish(name!, { data: "ours" });
        expect(await server.admin.exists(...codesIn(keys)), rule).to.equal(2);
        expect((await foreign.publish(name!, { data: "x" }, codesIn(keys)))[2]).to.equal("2");
      }
    });

    it("name exactly the fields that exist", async () => {
      const finite = `${channel}:finite`;
      const writer = await rig.service.writer(finite);
      await writer.write("x");
      await writer.end();
      await rig.openLive(channel);
      await foreign.publish(channel, { data: "x", event: "e", producer: "them", sequence: 1 });
      await foreign.publish(channel, { ending: "completed" });
      const hash = new Set<string>();
      const entry = new Set<string>();
      const queue = rig.service.queue("fields");
      const { id } = await queue.enqueue("kind", null);
      await queue.publishProgress(id, { progress: 1 });
      for (const [position, log] of [keysOf(channel), keysOf(finite), taskKeysOf(id)]) {
        for (const field of await server.admin.hkeys(position))
          hash.add(field.replace(/^p:.*/, "p:<producer>"));
        for (const [, fields] of await server.admin.xrange(log, "-", "+")) {
          for (let index = 0; index < fields.length; index += 2) entry.add(fields[index]!);
        }
      }
      const named = (heading: string): readonly string[] =>
        tableOf(heading).map(([cell]) => codesIn(cell!)[0]!);
      expect([...hash]).to.have.members(named("The position hash"));
      expect([...entry]).to.have.members(named("The log"));
    });

    it("describe how invalid events are handled", async () => {
      await rig.service.publish(channel, { data: "first" });
      const client = await rig.openLive(channel);
      const [position, log] = keysOf(channel);
      const epoch = (await server.admin.hget(position, "e"))!;
      let offset = 1;
      const force = async (event: string, data: string): Promise<void> => {
        offset++;
        const text = `\u001esse1\n${epoch} ${offset}\n${event}\n${data}`;
        await server.admin
          .multi()
          .hset(position, "o", offset)
          .xadd(log, offset, "e", event, "d", data)
          .exec();
        await server.admin.publish(channel, text);
      };
      await server.admin.publish(channel, "\u001esse1\n\ngap\nlive");
      await server.admin.publish(channel, "\u001esse1\n\na\rb\nlive");
      await server.admin.publish(channel, "\u001esse1\n\na\nb\nlive");
      await server.admin.publish(channel, "\u001esse2\n\n\nlive");
      await force("closing", "x");
      await force("a\rb", "x");
      await force("", "x".repeat(MAX_EVENT_BYTES + 1));
      await foreign.publish(channel, { event: "end", data: "\r\nx\r" });
      await client.next(({ event }) => event === "end");
      expect(client.events.slice(1).map(({ event, data }) => [event, data])).to.deep.equal([
        ["a", "b\nlive"],
        ["gap", JSON.stringify({ channels: [channel], reason: "invalid" })],
        ["gap", JSON.stringify({ channels: [channel], reason: "invalid" })],
        ["gap", JSON.stringify({ channels: [channel], reason: "too-large" })],
        ["end", "\nx\n"],
      ]);
    });
  });

  it("describes how to read a log", async () => {
    const read = async (): Promise<{ end: string | null; events: readonly string[] }> => {
      const [position, log] = keysOf(channel);
      const events: string[] = [];
      for (;;) {
        const replies = await server.admin
          .multi()
          .hmget(position, "e", "o", "end")
          .xrange(log, events.length + 1, "+", "COUNT", 3)
          .exec();
        const [[, state], [, entries]] = replies as [[null, string[]], [null, [string, string[]][]]];
        const [epoch, top, end = null] = state;
        if (epoch === null) return { end, events };
        for (const [id, fields] of entries) {
          expect(id.split("-")[0]).to.equal(`${events.length + 1}`);
          events.push(fields[fields.indexOf("d") + 1]!);
        }
        if (events.length >= Number(top)) return { end, events };
      }
    };
    expect(await read()).to.deep.equal({ end: null, events: [] });
    for (let count = 1; count <= 4; count++) {
      await rig.service.publish(channel, { data: `ours ${count}` });
      await foreign.publish(channel, { data: `theirs ${count}` });
    }
    const events = [1, 2, 3, 4].flatMap((count) => [`ours ${count}`, `theirs ${count}`]);
    expect(await read()).to.deep.equal({ end: null, events });
    await rig.service.complete(channel, { data: "last" });
    expect(await read()).to.deep.equal({ end: "completed", events: [...events, "last"] });
  });
});

/** The code and the message of a rejection. */
async function refusal(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return `${(error as { code?: string }).code} ${(error as Error).message}`;
  }
  return "";
}
