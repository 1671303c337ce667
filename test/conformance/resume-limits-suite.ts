import { randomUUID } from "node:crypto";
import { inspect } from "node:util";

import { expect } from "chai";

import type { StreamRequest } from "../../lib/adapter.js";
import type { PubSubSession, RedisSse } from "../../lib/index.js";
import { addToken, encodeEventId, parseEventId, splitToken, tagOf } from "../../lib/sse/event-id.js";
import { lastIdIn } from "../support/event-reader.js";
import { eventually } from "../support/eventually.js";
import { FakeSink } from "../support/fake-sink.js";
import { expectFault, faultOf } from "../support/service.js";
import { useStreams, type Subscriptions } from "../support/stream-harness.js";
import type { SuiteRedis } from "./stream-suite.js";

const SECRET = "a secret of the tests: 0123456789abcdef";
const OTHER = "another secret of tests: 0123456789abcdef";

interface Stream {
  readonly session: PubSubSession;
  readonly sink: FakeSink;
  readonly id: string;
}

/** Tests how far back a client may resume, on any Redis and in both subscription modes. */
export function describeResumeLimits(
  name: string,
  subscriptions: Subscriptions,
  startRedis: (context: Mocha.Context) => Promise<SuiteRedis>,
): void {
  describe(`limits of a resume on ${name} (${subscriptions})`, () => {
    const streams = useStreams(subscriptions, startRedis);
    let channel: string;
    let service: RedisSse;
    let request: StreamRequest;

    beforeEach(() => {
      channel = `limits:${randomUUID()}`;
      service = streams.create({ secret: SECRET });
      request = { key: "ann", resume: "since-admission" };
    });

    const publish = async (data: string, to = channel): Promise<string> =>
      (await service.publish(to, { data })).id!;

    async function open(lastEventId?: string, given: StreamRequest = {}, on = service): Promise<Stream> {
      const sink = new FakeSink();
      const session = await on.open({ ...request, lastEventId, ...given }, sink, channel);
      return { session, sink, id: lastIdIn(sink.text)! };
    }

    /** Opens a stream, and returns its id after it has ended. */
    async function visit(lastEventId?: string, given: StreamRequest = {}): Promise<string> {
      const { session, sink } = await open(lastEventId, given);
      await session.close();
      return lastIdIn(sink.text)!;
    }

    /** What a client gets if it sends this id: the gaps, and the events up to a new one. */
    async function told(lastEventId: string, given: StreamRequest = {}, on = service): Promise<string[]> {
      const { session, sink } = await open(lastEventId, given, on);
      await service.publish(channel, { data: "new" });
      await eventually(() => expect(sink.text).to.include("data: new\n"));
      await session.close();
      const recovered = sink.text.includes('"recovered":true');
      const all = sink.events.slice(1, -1).map(({ event, data }) => {
        return event === "gap" ? (JSON.parse(data) as { reason: string }).reason : data;
      });
      expect(recovered, "recovered").to.equal(!all.some((each) => /^(foreign|trimmed|epoch)$/.test(each)));
      return all.filter((each) => each !== "old new");
    }

    const withToken = (places: string, id: string): string =>
      addToken(splitToken(places).places, splitToken(id).token!);

    it("shows the secret neither to a client nor in the status, and refuses a policy that needs one", async () => {
      const { sink } = await open("x~y");
      const shown = [sink.text, JSON.stringify(await service.status()), inspect(service, { depth: 9 })];
      for (const text of shown) expect(text).not.to.include(SECRET);
      const refused = new FakeSink();
      const opening = streams.create().open({}, refused, { channels: channel, resume: { maxAgeMs: 1 } });
      expectFault(await faultOf(opening), "CONFIG");
      expect(refused.answered).to.include({ status: 500 });
    });

    describe("false", () => {
      beforeEach(() => {
        request = { resume: false };
      });

      it("sends a gap and then new events to a client with an id, and no gap to a client without", async () => {
        const id = await visit();
        expect(parseEventId(id), "an id without a token").to.have.length(1);
        await publish("missed");
        for (const lastEventId of [id, "earliest", "1-1"]) {
          expect(await told(lastEventId)).to.deep.equal(["foreign", "new"]);
        }
        const { sink } = await open();
        expect(sink.text).not.to.include("event: gap");
      });

      it("sends a finite channel as a whole, each event once", async () => {
        await service.publish(channel, { data: "1" }, { finite: true });
        const first = await open();
        await eventually(() => expect(first.sink.text).to.include("data: 1\n"));
        await first.session.close();
        await publish("2");
        expect(await told(lastIdIn(first.sink.text)!)).to.deep.equal(["2", "new"]);
      });

      it("starts at the oldest event again if the mount starts new streams there", async () => {
        const id = await publish("1");
        await publish("2");
        expect(await told(id, { from: "earliest" })).to.deep.equal(["1", "2", "new"]);
      });
    });

    describe("since-admission", () => {
      it("sends the missed events on every process with the secret", async () => {
        await publish("before");
        const id = await visit();
        expect(id).to.match(/^3\.[\w-]+~[\w-]+$/);
        await publish("missed");
        expect(await told(id, {}, streams.create({ secret: [OTHER, SECRET] }))).to.deep.equal([
          "missed",
          "new",
        ]);
      });

      it("sends no event from before the admission, whatever place the client writes", async () => {
        const early = await publish("before 1");
        await publish("before 2");
        const id = await visit();
        await publish("after");
        expect(await told(withToken(early, id))).to.deep.equal(["foreign", "after", "new"]);
      });

      it("sends a gap and then new events to a client without a valid token", async () => {
        const early = await publish("1");
        const id = await visit();
        await publish("2");
        const theirs = await visit(undefined, { key: "bob" });
        const aged = await visit(undefined, { resume: { maxAgeMs: 60_000 } });
        const ids = [early, addToken(early, ""), addToken(early, "AAAA"), withToken(id, theirs)];
        for (const each of [...ids, withToken(id, aged), `${id}A`]) {
          expect(await told(each), each).to.deep.equal(["foreign", "new"]);
        }
        expect(await told(id, {}, streams.create({ secret: OTHER }))).to.deep.equal(["foreign", "new"]);
      });

      it("sends no earlier event to a client that has been admitted to a channel with the same tag", async () => {
        channel = "tags:secret";
        const chosen = "tags:ps1cimw";
        expect(tagOf(chosen)).to.equal(tagOf(channel));
        await publish("before");
        const sink = new FakeSink();
        await (await service.open(request, sink, chosen)).close();
        const places = encodeEventId([{ tag: tagOf(channel), epoch: "", offset: 0, since: Date.now() }]);
        expect(await told(withToken(places, lastIdIn(sink.text)!))).to.deep.equal(["foreign", "new"]);
      });

      it("distinguishes no key from the empty key", async () => {
        const [none, empty] = [await visit(undefined, { key: null }), await visit(undefined, { key: "" })];
        await publish("missed");
        expect(await told(none, { key: "" })).to.deep.equal(["foreign", "new"]);
        expect(await told(empty, { key: undefined })).to.deep.equal(["foreign", "new"]);
        expect((await told(none, { key: undefined }))[0]).to.equal("missed");
        expect((await told(empty, { key: "" }))[0]).to.equal("missed");
      });

      it("keeps the first admission when the client reconnects", async () => {
        const first = await visit();
        const place = await publish("1");
        await publish("2");
        const third = await visit(await visit(first));
        expect(await told(withToken(place, third))).to.deep.equal(["2", "new"]);
        expect((await told(withToken(first, third)))[0]).to.equal("1");
      });

      it("keeps the first admission when the secret is replaced", async () => {
        const rotated = streams.create({ secret: [OTHER, SECRET] });
        const { session, id } = await open(await visit(), {}, rotated);
        await session.close();
        await publish("1");
        expect(await told(id, {}, streams.create({ secret: OTHER }))).to.deep.equal(["1", "new"]);
      });

      it("admits a client to an added channel when the channel is added, also for the second time", async () => {
        const added = `${channel}:added`;
        const before = await publish("before", added);
        const { session, sink } = await open();
        const idWith = async (): Promise<string> => {
          await eventually(() =>
            expect(parseEventId(splitToken(lastIdIn(sink.text)!).places)).to.have.length(2),
          );
          return lastIdIn(sink.text)!;
        };
        const both = async (id: string): Promise<readonly string[]> => {
          const other = new FakeSink();
          const stream = await service.open({ ...request, lastEventId: id }, other, [channel, added]);
          await publish("new", added);
          await eventually(() => expect(other.text).to.include("data: new\n"));
          await stream.close();
          return other.events.slice(1, -1).map(({ data }) => data);
        };
        const gap = JSON.stringify({ channels: [added], reason: "foreign" });
        expect(await both(await visit()), "a new right").to.deep.equal([gap, "new"]);
        await session.addChannel(added);
        const id = await idWith();
        await publish("1", added);
        expect(await both(id)).to.deep.equal(["1", "new"]);
        const places = parseEventId(splitToken(id).places)!.slice(0, 1);
        const early = encodeEventId([...places, ...parseEventId(before)!]);
        expect((await both(withToken(early, id)))[0], "before the admission").to.equal(gap);
        await session.removeChannel(added);
        const watching = new FakeSink();
        const watcher = await service.open({}, watching, added);
        await publish("2", added);
        // From now on, the event is not a new one on this connection.
        await eventually(() => expect(watching.text).to.include("data: 2\n"));
        await watcher.close();
        await session.addChannel(added);
        session.send({ data: "x" });
        await eventually(() => expect(sink.text).to.include("data: x\n"));
        const newest = lastIdIn(sink.text)!;
        await publish("3", added);
        expect(await both(withToken(id, newest)), "the new admission counts").to.deep.equal([
          gap,
          "3",
          "new",
        ]);
        await session.close();
      });

      it("sends all events of a history that began after the admission", async () => {
        await publish("1");
        const id = await visit();
        await streams.raw.del(`sse:pos:{${channel}}`, `sse:log:{${channel}}`);
        const place = await publish("2");
        await publish("3");
        expect(await told(withToken(place, id), {}, streams.create({ secret: SECRET }))).to.deep.equal([
          "3",
          "new",
        ]);
      });

      it("sends the events since the start of the first stream if that started at the oldest event", async () => {
        const early = await publish("1");
        await publish("2");
        const first = await open(undefined, { from: "earliest" });
        await eventually(() => expect(first.sink.text).to.include("data: 2\n"));
        await first.session.close();
        expect(await told(withToken(early, lastIdIn(first.sink.text)!))).to.deep.equal(["2", "new"]);
      });

      it("applies the policy of the resolver's answer, and not of the mount", async () => {
        const id = await visit();
        await publish("missed");
        const sink = new FakeSink();
        await service.open({ ...request, lastEventId: id }, sink, { channels: channel, resume: false });
        expect(sink.text).to.include('"reason":"foreign"');
        const other = new FakeSink();
        await service.open({ ...request, lastEventId: id }, other, { channels: channel, key: "bob" });
        expect(other.text).to.include('"reason":"foreign"');
      });
    });

    describe("{ maxAgeMs }", () => {
      beforeEach(() => {
        request = { key: "ann", resume: { maxAgeMs: 60_000 } };
      });

      it("sends missed events if the token is younger, and otherwise a gap and new events", async () => {
        const id = await visit();
        await publish("missed");
        expect(await told(id)).to.deep.equal(["missed", "new"]);
        await eventually(async () => {
          expect(await told(id, { resume: { maxAgeMs: 1 } })).to.deep.equal(["trimmed", "new"]);
        });
      });

      it("sends no event from before the time of the token, whatever place the client writes", async () => {
        const early = await publish("1");
        await publish("2");
        const id = await visit();
        await publish("3");
        expect(await told(withToken(early, id))).to.deep.equal(["foreign", "3", "new"]);
        expect(await told(early)).to.deep.equal(["foreign", "new"]);
      });

      it("renews the token of a client that has all events, even if no event follows", async () => {
        service = streams.create({ secret: SECRET, history: { checkMs: 100 }, heartbeatMs: 50 });
        const early = await publish("1");
        const { sink, session } = await open(undefined, { resume: { maxAgeMs: 400 } });
        const tokenAfter = async (token: string): Promise<string> => {
          await eventually(() => expect(splitToken(lastIdIn(sink.text)!).token).not.to.equal(token));
          return splitToken(lastIdIn(sink.text)!).token!;
        };
        await tokenAfter(splitToken(lastIdIn(sink.text)!).token!);
        await publish("2");
        await eventually(() => expect(sink.text).to.include("data: 2\n"));
        await tokenAfter(await tokenAfter(splitToken(lastIdIn(sink.text)!).token!));
        await session.close();
        expect((await told(withToken(early, lastIdIn(sink.text)!)))[0]).to.equal("foreign");
      });
    });
  });
}
