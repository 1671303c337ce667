import { expect } from "chai";

import { encodeEventId, tagOf } from "../../../lib/sse/event-id.js";
import { ClientCheck } from "../../chaos/client-check.js";
import { encodePayload } from "../../chaos/payload.js";

const KEPT = ["channel-1", "tiny-0"];

describe("ClientCheck", () => {
  let rules: string[];
  let check: ClientCheck;

  function listenTo(channels: readonly string[]): void {
    rules = [];
    check = new ClientCheck(channels, (rule) => rules.push(rule));
    check.open(undefined);
  }

  beforeEach(() => listenTo(KEPT));

  const idOf = (...offsets: number[]): string =>
    encodeEventId(offsets.map((offset, index) => ({ tag: tagOf(KEPT[index]!), epoch: "0000000a", offset })));

  function say(type: string, data: unknown = {}, id?: string): void {
    const text = typeof data === "string" ? data : JSON.stringify(data);
    check.block({ event: type, data: text, id });
  }

  const begin = (): void => say("connected", { recovered: false }, idOf(5, 7));
  const event = (channel: string, number: number): string =>
    encodePayload({ channel, publisher: 1, number }, 150);

  it("accepts streams that start, resume, have a gap and end correctly", () => {
    begin();
    say("message", event("channel-1", 1), idOf(6, 7));
    say("error");
    say("closing");
    check.close();
    check.open(idOf(6, 7));
    say("connected", { recovered: true }, idOf(6, 7));
    say("message", event("tiny-0", 1), idOf(6, 8));
    check.block({ event: "message", data: undefined, id: idOf(6, 8) });
    check.open(idOf(6, 8));
    say("connected", { recovered: false });
    say("gap", { channels: ["tiny-0"] }, idOf(6, 30));
    say("message", event("tiny-0", 23), idOf(6, 31));
    expect(rules).to.deep.equal([]);
    expect(check.trails.get("tiny-0")).to.deep.include({ offsets: [8, 30, 31], connections: [1, 2, 2] });
  });

  it("accepts a stream of channels without history", () => {
    listenTo(["live-0"]);
    say("connected", { recovered: false });
    say("message", event("live-0", 1));
    say("gap", { channels: ["live-0"], reason: "interrupted" });
    expect(rules).to.deep.equal([]);
  });

  it("does not expect events that are published while the client does not read", () => {
    begin();
    check.pause();
    expect(check.trails.get("tiny-0")!.spans.get(0)!.to).to.be.lessThan(Infinity);
    check.resume();
    expect(check.trails.get("tiny-0")!.spans.get(0)!.to).to.equal(Infinity);
  });

  const faults: Readonly<Record<string, readonly [rule: string, play: () => void]>> = {
    "an event before `connected`": ["a stream begins with `connected` or `error`", () => say("closing")],
    "a second `connected`": [
      "`connected` comes once",
      () => (begin(), say("connected", { recovered: false })),
    ],
    "an event after `error`": [
      "nothing follows `closing`, and only `closing` follows `error`",
      () => (begin(), say("error"), say("message", event("channel-1", 1), idOf(6, 7))),
    ],
    "an event after `closing`": [
      "nothing follows `closing`, and only `closing` follows `error`",
      () => (begin(), say("closing"), say("gap", { channels: ["tiny-0"] }, idOf(5, 8))),
    ],
    "an event after the end": ["nothing follows the end", () => (begin(), check.close(), say("closing"))],
    "an event that was not published": [
      "a stream has only the events that were published",
      () => (begin(), say("strange")),
    ],
    "a damaged event": [
      "data comes as it was published, on the client's channels",
      () => (begin(), say("message", event("channel-1", 1).replace("xx", "x"), idOf(6, 7))),
    ],
    "an event of another channel": [
      "data comes as it was published, on the client's channels",
      () => (begin(), say("message", event("channel-2", 1), idOf(5, 7))),
    ],
    "a `connected` without an id": [
      "the first `connected` has an id, where there is a history",
      () => say("connected", { recovered: false }),
    ],
    "an id on a channel without history": [
      "an id comes where there is a history",
      () => (listenTo(["live-0"]), say("connected", { recovered: false }, idOf(1))),
    ],
    "an event without an id": [
      "every event of a channel with history has an id",
      () => (begin(), say("message", event("channel-1", 1))),
    ],
    "an id without one of the channels": [
      "an id tells the place in every channel",
      () => (begin(), say("message", event("channel-1", 1), idOf(6))),
    ],
    "an id that is ahead of its event": [
      "an id moves with its event only",
      () => (begin(), say("message", event("channel-1", 1), idOf(7, 7))),
    ],
    "an id that also advances in another channel": [
      "an id moves with its event only",
      () => (begin(), say("message", event("channel-1", 1), idOf(6, 8))),
    ],
    "an id that advances with an `error`": [
      "an id moves with its event only",
      () => (begin(), say("error", {}, idOf(6, 7))),
    ],
    "a `connected` whose id skips events": [
      "an id moves with its event only",
      () => (begin(), check.open(idOf(5, 7)), say("connected", { recovered: true }, idOf(6, 7))),
    ],
    "a gap of a channel that keeps all events": [
      "no gap on a channel that keeps everything",
      () => (begin(), say("gap", { channels: ["channel-1"] }, idOf(8, 7))),
    ],
    "a dedicated stream that is interrupted": [
      "a dedicated stream ends with its connection, and is not interrupted",
      () => {
        check.open(undefined, true);
        begin();
        say("gap", { channels: ["tiny-0"], reason: "interrupted" }, idOf(5, 8));
      },
    ],
    "a missing gap after `recovered: false`": [
      "who is not recovered is told a gap first",
      () => {
        begin();
        check.open(idOf(5, 7));
        say("connected", { recovered: false });
        say("message", event("channel-1", 1), idOf(6, 7));
      },
    ],
  };

  for (const [fault, [rule, play]] of Object.entries(faults)) {
    it(`reports ${fault}`, () => {
      play();
      expect(rules).to.include(rule);
    });
  }
});
