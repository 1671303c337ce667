import { expect } from "chai";
import * as fc from "fast-check";

import type { StreamRequest } from "../../../lib/adapter.js";
import { addToken, encodeEventId, splitToken, tagOf } from "../../../lib/sse/event-id.js";
import { EPOCH } from "../../support/inbound-events.js";
import { SECRET, SessionRig, type RigStream } from "../../support/session-rig.js";

const placesAt = (offset: number, channel = "a"): string =>
  encodeEventId([{ tag: tagOf(channel), epoch: EPOCH, offset }]);
const tokenOf = ({ lastId }: RigStream): string => splitToken(lastId!).token!;

describe("PubSubSession with a limited resume", () => {
  const AGED: StreamRequest = { key: "ann", resume: { maxAgeMs: 60_000 } };
  const ADMITTED: StreamRequest = { key: "ann", resume: "since-admission" };
  let rig: SessionRig;

  beforeEach(() => {
    rig = new SessionRig();
  });

  afterEach("leaves nothing", async () => {
    expect(await rig.close(), "buffered bytes").to.equal(0);
    expect(rig.clock.pending, "timers").to.equal(0);
  });

  it("renews a token with the newest read, but not before the client has read all events", async () => {
    rig.publish("a", "1");
    const stream = await rig.open(AGED, "a");
    const first = tokenOf(stream);
    stream.sink.takes = false;
    stream.session.send({ data: "blocks" });
    rig.publish("a", "2");
    rig.lookAt("a", 100_000);
    rig.clock.advance(20_000);
    const back = await rig.open({ ...AGED, lastEventId: stream.lastId }, "a");
    expect(back.data).to.deep.equal(["2"]);
    expect(back.gaps).to.deep.equal([]);
    stream.sink.drain();
    expect(tokenOf(stream), "not renewed while the client was slow").to.equal(first);
    rig.clock.advance(20_000);
    expect(tokenOf(stream)).not.to.equal(first);
    const early = await rig.open({ ...AGED, lastEventId: addToken(placesAt(1), tokenOf(stream)) }, "a");
    expect(early.gaps, "the renewed token has a later floor").to.deep.equal(["foreign a"]);
  });

  it("does not renew a token for events that were only heard, because others may be under way", async () => {
    rig.publish("a", "1");
    const stream = await rig.open(AGED, "a");
    rig.clock.advance(100_000);
    rig.publish("a", "2");
    const token = tokenOf(stream);
    rig.clock.advance(100_000);
    expect(tokenOf(stream)).to.equal(token);
  });

  it("keeps the token of an admission for the whole stream, and drops a removed channel from it", async () => {
    const stream = await rig.open(ADMITTED, "a", "b");
    const token = tokenOf(stream);
    rig.publish("a", "1");
    rig.lookAt("a", 100_000);
    rig.clock.advance(20_000);
    rig.publish("a", "2");
    expect(tokenOf(stream)).to.equal(token);
    await stream.session.removeChannel("b");
    rig.publish("a", "3");
    expect(tokenOf(stream).length).to.be.lessThan(token.length);
  });

  it("adds no token to the ids of a stream without a history", async () => {
    const stream = await rig.open(ADMITTED, "plain");
    rig.publish("plain", "x");
    expect(stream.data).to.deep.equal(["x"]);
    expect(stream.lastId).to.equal(undefined);
  });

  it("sends no event from before the admission, and no secret, whatever the client sends", async () => {
    const foreign = await rig.open({ ...ADMITTED, key: "bob" }, "a", "b");
    rig.publish("a", "before 1", "before 2");
    rig.publish("b", "foreign");
    const own = await rig.open(ADMITTED, "a");
    rig.publish("a", "after");
    const places = fc.oneof(
      fc.nat(3).map((offset) => placesAt(offset)),
      fc.constantFrom("", "0", "earliest", "completed ", placesAt(0, "b"), splitToken(own.lastId!).places),
      fc.string({ unit: "binary" }),
    );
    const token = fc.oneof(
      fc.constantFrom(tokenOf(own), tokenOf(foreign), "", "~", tokenOf(own).slice(1), `${tokenOf(own)}~`),
      fc.base64String().map((text) => tokenOf(own).slice(0, 22) + text),
      fc.string({ unit: "binary" }),
    );
    const policy = fc.constantFrom(ADMITTED, { ...ADMITTED, key: "carol" }, AGED, { resume: false as const });
    await fc.assert(
      fc.asyncProperty(policy, places, token, fc.boolean(), async (request, place, text, isBare) => {
        const lastEventId = isBare ? place : addToken(place, text);
        const stream = await rig.open({ ...request, lastEventId }, "a");
        expect(stream.session.state).to.equal("subscribed");
        expect(stream.data).to.satisfy((data: string[]) => data.every((each) => each === "after"));
        expect(stream.sink.text).not.to.include(SECRET);
      }),
      { numRuns: 300 },
    );
  });
});
