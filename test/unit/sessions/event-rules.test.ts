import { expect } from "chai";

import { EventRules } from "../../../lib/sessions/event-rules.js";
import { encodeEvent, NOTHING } from "../../../lib/sse/frame.js";
import type { InboundEvent, StreamEvent } from "../../../lib/events/inbound-event.js";
import { createGap } from "../../../lib/events/gap.js";
import { NO_CHANNEL } from "../../../lib/events/channel-name.js";
import type { OutboundMessage } from "../../../lib/events/outbound-message.js";
import type { StreamRequest } from "../../../lib/sessions/sink.js";
import { settle } from "../../support/eventually.js";
import { captureLog } from "../../support/service.js";

const MAX_EVENT_BYTES = 100;

describe("EventRules", () => {
  let failed: string[];

  beforeEach(() => {
    failed = [];
  });

  it("are none where a stream has none: then nobody is asked", () => {
    expect(EventRules.of({}, context())).to.equal(null);
    expect(EventRules.of({ key: "ann", slowConsumer: "latest" }, context())).to.equal(null);
  });

  describe("filter", () => {
    it("passes the event on as it is, or leaves it out", () => {
      const rules = of({ filter: ({ data }) => data === "yes" });
      const yes = eventOf("yes");
      expect(rules.select(yes)).to.equal(yes);
      expect(rules.select(eventOf("no"))).to.equal(null);
      expect(failed).to.deep.equal([]);
    });

    it("sees the channel, the type and the data, and no more", () => {
      const seen: StreamEvent[] = [];
      const rules = of({ filter: (event) => seen.push(event) > 0 });
      rules.select({ ...eventOf("1", "tick"), position: { epoch: "0badcafe", offset: 1 } });
      rules.select(eventOf("2"));
      expect(seen).to.deep.equal([
        { channel: "a", event: "tick", data: "1" },
        { channel: "a", event: undefined, data: "2" },
      ]);
    });
  });

  describe("transform", () => {
    it("gives the stream another event in its place", () => {
      const rules = of({ transform: ({ data }) => ({ event: "shout", data: data.toUpperCase() }) });
      expect(rules.select(eventOf("x"))?.frame).to.equal("event: shout\ndata: X\n\n");
      expect(rules.select(eventOf("two\nlines"))?.frame).to.equal("event: shout\ndata: TWO\ndata: LINES\n\n");
    });

    it("leaves the event out for null; nothing at all is a mistake", () => {
      expect(of({ transform: () => null }).select(eventOf("x"))).to.equal(null);
      const nothing = (() => {}) as unknown as () => null;
      expectGap(of({ transform: nothing }).select(eventOf("secret")));
    });

    it("keeps the event's place, and that it is the last of its channel", () => {
      const position = { epoch: "0badcafe", offset: 3 };
      const rules = of({ transform: () => ({ data: "other" }) });
      const own = rules.select({ ...eventOf("x"), position, ending: "completed" });
      expect(own).to.deep.include({ data: "other", position, ending: "completed" });
    });

    it("may answer what it was shown, or the same with other data", () => {
      const event = eventOf("x", "tick");
      expect(of({ transform: (seen) => seen }).select(event)).to.equal(event);
      expect(of({ transform: (seen) => ({ ...seen }) }).select(event)).to.equal(event);
      const changed = of({ transform: (seen) => ({ ...seen, data: "y" }) }).select(event);
      expect(changed?.frame).to.equal("event: tick\ndata: y\n\n");
    });

    it("may change what it was shown and answer that: nobody gets what it took out", () => {
      const redact = (seen: StreamEvent): StreamEvent => {
        (seen as { data: string }).data = "***";
        return seen;
      };
      const event = eventOf("secret");
      expect(of({ transform: redact }).select(event)?.frame).to.equal("data: ***\n\n");
      expect(of({ filter: (seen) => redact(seen) !== null }).select(event), "of another stream").to.equal(
        event,
      );
      expect(of({ transform: (seen) => seen }).select(event)?.data).to.equal("secret");
    });

    it("is encoded once for all streams that make the same of an event", () => {
      const event = eventOf("x");
      const shout = (data: string) => of({ transform: () => ({ event: "shout", data }) }).select(event);
      expect(shout("A")).to.equal(shout("A"));
      expect(shout("A")).not.to.equal(shout("B"));
      expect(shout("A")).not.to.equal(of({ transform: () => ({ data: "A" }) }).select(event));
      expect(of({ transform: () => ({ data: "a" }) }).select(eventOf("x")), "of another event").not.to.equal(
        of({ transform: () => ({ data: "a" }) }).select(event),
      );
    });

    it("keeps no more than some of what streams made of an event, and each gets its own all the same", () => {
      const event = eventOf("x");
      const make = (data: string) => of({ transform: () => ({ data }) }).select(event);
      const first = make("0");
      const many = Array.from({ length: 500 }, (_, index) => make(String(index)));
      expect(many.map((own) => own?.data)).to.deep.equal(many.map((_, index) => String(index)));
      expect(make("0")).to.equal(first);
      const again = many.filter((own, index) => make(String(index)) === own);
      expect(again.length).to.be.within(1, 100);
    });

    const unsendable: Record<string, () => unknown> = {
      "a type that is reserved": () => ({ event: "gap", data: "x" }),
      "a type that would begin another field": () => ({ event: "a\ndata: forged", data: "x" }),
      "data that is too large": () => ({ data: "x".repeat(MAX_EVENT_BYTES + 1) }),
      "no data": () => ({ event: "x" }),
      "a misspelt field": () => ({ type: "x", data: "y" }),
      "another channel": () => ({ channel: "b", data: "y" }),
      "text alone": () => "x",
      true: () => true,
      "an array": () => ["x"],
      "a getter that throws": () => ({
        get data(): never {
          throw new Error("secret");
        },
      }),
    };
    for (const [what, transform] of Object.entries(unsendable)) {
      it(`gets nothing sent for ${what}, and the client is told`, () => {
        expectGap(of({ transform: transform as () => OutboundMessage }).select(eventOf("secret")));
        expect(failed).to.deep.equal(["transform"]);
      });
    }
  });

  describe("a gap in place of an event", () => {
    it("has the event's place and ends its channel where that did", () => {
      const position = { epoch: "0badcafe", offset: 3 };
      const filter = (): never => {
        throw new Error("its own fault");
      };
      const own = of({ filter }).select({ ...eventOf("secret"), position, ending: "completed" });
      expectGap(own);
      expect(own).to.deep.include({ position, ending: "completed" });
    });

    it("says in the log what failed, and nothing that a foreign error says", () => {
      const log = captureLog("redis-sse:session");
      try {
        of({
          filter: () => {
            throw new TypeError("password=hunter2");
          },
        }).select(eventOf("x"));
        of({ transform: () => ({ event: "gap", data: 1 }) }).select(eventOf("x"));
        of({ filter: (() => Promise.resolve(true)) as never }).select(eventOf("x"));
      } finally {
        log.restore();
      }
      const text = log.lines.join("\n");
      expect(text).to.include("TypeError").and.to.include('The event name "gap" is reserved');
      expect(text).to.include("expected filter() to be synchronous, but it returned a promise");
      expect(text).to.not.include("hunter2");
    });
  });

  describe("a promise, which says nothing in time", () => {
    for (const [how, promise] of Object.entries<() => unknown>({
      "that resolves with true": () => Promise.resolve(true),
      "that rejects": () => Promise.reject(new Error("nobody handles it")),
      "that is not Node's": () => thenable(() => {}),
      "whose then() throws": () =>
        thenable(() => {
          throw new Error("its own fault");
        }),
    })) {
      it(`lets nothing through as the answer of a filter, ${how}`, async () => {
        expectGap(of({ filter: promise as () => boolean }).select(eventOf("secret")));
        // The hooks of every suite look for a rejection that nobody handled.
        await settle();
      });

      it(`is no event as the answer of transform, ${how}`, async () => {
        expectGap(of({ transform: promise as never }).select(eventOf("secret")));
        await settle();
      });

      it(`ends nothing as the answer of until, ${how}`, async () => {
        expect(of({ until: promise as () => boolean }).isLast(eventOf("x"))).to.equal(false);
        await settle();
      });
    }
  });

  describe("until", () => {
    it("sees the event as it was published, whatever the others made of it", () => {
      const seen: StreamEvent[] = [];
      const until = (event: StreamEvent): boolean => seen.push(event) === 3;
      const event = eventOf("x", "tick");
      for (const request of [
        { until, filter: () => false },
        { until, transform: () => ({ event: "other", data: "other" }) },
        {
          until,
          filter: (shown: StreamEvent) => {
            (shown as { data: string }).data = "changed";
            return true;
          },
        },
      ]) {
        const rules = of(request);
        rules.select(event);
        rules.isLast(event);
      }
      expect(seen).to.deep.equal(
        Array.from({ length: 3 }, () => ({ channel: "a", event: "tick", data: "x" })),
      );
    });

    it("ends nothing when it throws", () => {
      const until = (): never => {
        throw new Error("its own fault");
      };
      expect(of({ until }).isLast(eventOf("x"))).to.equal(false);
    });
  });

  it("tell which rule failed, and for which event, but not its data", () => {
    const told: unknown[] = [];
    const fault = new Error("its own fault");
    const fails = (): never => {
      throw fault;
    };
    const onError = (...failure: unknown[]): never => {
      told.push(failure);
      throw new Error("another");
    };
    of({ filter: fails, onError }).select(eventOf("secret", "tick"));
    of({ transform: fails, onError }).select(eventOf("secret"));
    of({ until: fails, onError }).isLast(eventOf("secret"));
    expect(told).to.deep.equal([
      [fault, { rule: "filter", channel: "a", event: "tick" }],
      [fault, { rule: "transform", channel: "a", event: undefined }],
      [fault, { rule: "until", channel: "a", event: undefined }],
    ]);
  });

  describe("what nobody is asked about", () => {
    const rules = (): EventRules => {
      const asked = (): never => expect.fail("asked");
      return of({ filter: asked, transform: asked, until: asked });
    };
    for (const [what, event] of Object.entries<InboundEvent>({
      "what this library tells": createGap(["a"], "interrupted"),
      "a gap in place of an event that was too large": {
        ...createGap(["a"], "too-large", "a"),
        position: { epoch: "0badcafe", offset: 1 },
      },
      "the end of a channel that says nothing": {
        ...eventOf(""),
        frame: NOTHING,
        position: { epoch: "0badcafe", offset: 1 },
        ending: "completed",
      },
    })) {
      it(`is ${what}`, () => {
        expect(rules().select(event)).to.equal(event);
        expect(rules().isLast(event)).to.equal(false);
      });
    }

    it("is what the application sends to this stream alone, but for whether that is the last", () => {
      const own = { ...eventOf("x"), channel: NO_CHANNEL };
      const asked = (): never => expect.fail("asked");
      expect(of({ filter: asked, transform: asked }).select(own)).to.equal(own);
      expect(of({ until: ({ channel }) => channel === "" }).isLast(own)).to.equal(true);
    });
  });

  function context(): Parameters<typeof EventRules.of>[1] {
    return { settings: { maxEventBytes: MAX_EVENT_BYTES }, onRuleFailure: (rule) => failed.push(rule) };
  }

  function of(request: StreamRequest): EventRules {
    return EventRules.of(request, context())!;
  }
});

/** What another library may call a promise. */
function thenable(then: () => void): unknown {
  // oxlint-disable-next-line unicorn/no-thenable -- it is what an application may answer
  return { then };
}

function eventOf(data: string, event?: string): InboundEvent {
  return { channel: "a", event, data, frame: encodeEvent({ event, data }) };
}

/** The client is told that it misses something of the channel, and gets nothing of it. */
function expectGap(own: InboundEvent | null): void {
  expect(own?.frame).to.equal('event: gap\ndata: {"channels":["a"],"reason":"invalid"}\n\n');
  expect(own?.data).to.not.include("secret");
}
