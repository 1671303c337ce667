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

  it("returns null if a stream has no rules", () => {
    expect(EventRules.of({}, context())).to.equal(null);
    expect(EventRules.of({ key: "ann", slowConsumer: "latest" }, context())).to.equal(null);
  });

  describe("filter", () => {
    it("passes the event unchanged or drops it", () => {
      const rules = of({ filter: ({ data }) => data === "yes" });
      const yes = eventOf("yes");
      expect(rules.select(yes)).to.equal(yes);
      expect(rules.select(eventOf("no"))).to.equal(null);
      expect(failed).to.deep.equal([]);
    });

    it("gets only the channel, the type and the data", () => {
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
    it("replaces the event", () => {
      const rules = of({ transform: ({ data }) => ({ event: "shout", data: data.toUpperCase() }) });
      expect(rules.select(eventOf("x"))?.frame).to.equal("event: shout\ndata: X\n\n");
      expect(rules.select(eventOf("two\nlines"))?.frame).to.equal("event: shout\ndata: TWO\ndata: LINES\n\n");
    });

    it("drops the event for null and sends a gap for undefined", () => {
      expect(of({ transform: () => null }).select(eventOf("x"))).to.equal(null);
      const nothing = (() => {}) as unknown as () => null;
      expectGap(of({ transform: nothing }).select(eventOf("secret")));
    });

    it("keeps the position and the ending of the event", () => {
      const position = { epoch: "0badcafe", offset: 3 };
      const rules = of({ transform: () => ({ data: "other" }) });
      const own = rules.select({ ...eventOf("x"), position, ending: "completed" });
      expect(own).to.deep.include({ data: "other", position, ending: "completed" });
    });

    it("may return its argument or a changed copy of it", () => {
      const event = eventOf("x", "tick");
      expect(of({ transform: (seen) => seen }).select(event)).to.equal(event);
      expect(of({ transform: (seen) => ({ ...seen }) }).select(event)).to.equal(event);
      const changed = of({ transform: (seen) => ({ ...seen, data: "y" }) }).select(event);
      expect(changed?.frame).to.equal("event: tick\ndata: y\n\n");
    });

    it("may change its argument without an effect on other streams", () => {
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

    it("is encoded once for all streams with the same result for an event", () => {
      const event = eventOf("x");
      const shout = (data: string) => of({ transform: () => ({ event: "shout", data }) }).select(event);
      expect(shout("A")).to.equal(shout("A"));
      expect(shout("A")).not.to.equal(shout("B"));
      expect(shout("A")).not.to.equal(of({ transform: () => ({ data: "A" }) }).select(event));
      expect(of({ transform: () => ({ data: "a" }) }).select(eventOf("x")), "of another event").not.to.equal(
        of({ transform: () => ({ data: "a" }) }).select(event),
      );
    });

    it("caches a limited number of results per event and still returns the right one to each stream", () => {
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
      "a reserved type": () => ({ event: "gap", data: "x" }),
      "a type with a line break": () => ({ event: "a\ndata: forged", data: "x" }),
      "data that is too large": () => ({ data: "x".repeat(MAX_EVENT_BYTES + 1) }),
      "no data": () => ({ event: "x" }),
      "a misspelled field": () => ({ type: "x", data: "y" }),
      "another channel": () => ({ channel: "b", data: "y" }),
      "a string": () => "x",
      true: () => true,
      "an array": () => ["x"],
      "a getter that throws": () => ({
        get data(): never {
          throw new Error("secret");
        },
      }),
    };
    for (const [what, transform] of Object.entries(unsendable)) {
      it(`sends a gap instead of the event if it returns ${what}`, () => {
        expectGap(of({ transform: transform as () => OutboundMessage }).select(eventOf("secret")));
        expect(failed).to.deep.equal(["transform"]);
      });
    }
  });

  describe("gap instead of an event", () => {
    it("keeps the position and the ending of the event", () => {
      const position = { epoch: "0badcafe", offset: 3 };
      const filter = (): never => {
        throw new Error("its own fault");
      };
      const own = of({ filter }).select({ ...eventOf("secret"), position, ending: "completed" });
      expectGap(own);
      expect(own).to.deep.include({ position, ending: "completed" });
    });

    it("logs which rule failed without the message of the app's error", () => {
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

  describe("rule that returns a promise", () => {
    for (const [how, promise] of Object.entries<() => unknown>({
      "that resolves with true": () => Promise.resolve(true),
      "that rejects": () => Promise.reject(new Error("nobody handles it")),
      "from another promise library": () => thenable(() => {}),
      "whose then() throws": () =>
        thenable(() => {
          throw new Error("its own fault");
        }),
    })) {
      it(`sends a gap if filter returns a promise ${how}`, async () => {
        expectGap(of({ filter: promise as () => boolean }).select(eventOf("secret")));
        // The root hook fails this test if a rejection is unhandled.
        await settle();
      });

      it(`sends a gap if transform returns a promise ${how}`, async () => {
        expectGap(of({ transform: promise as never }).select(eventOf("secret")));
        await settle();
      });

      it(`does not end the stream if until returns a promise ${how}`, async () => {
        expect(of({ until: promise as () => boolean }).isLast(eventOf("x"))).to.equal(false);
        await settle();
      });
    }
  });

  describe("until", () => {
    it("gets the event as it was published, not as filter or transform changed it", () => {
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

    it("does not end the stream if it throws", () => {
      const until = (): never => {
        throw new Error("its own fault");
      };
      expect(of({ until }).isLast(eventOf("x"))).to.equal(false);
    });
  });

  it("reports the failed rule and the event without its data to onError", () => {
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

  describe("events that the rules do not see", () => {
    const rules = (): EventRules => {
      const asked = (): never => expect.fail("asked");
      return of({ filter: asked, transform: asked, until: asked });
    };
    for (const [what, event] of Object.entries<InboundEvent>({
      "control events": createGap(["a"], "interrupted"),
      "gaps instead of events that were too large": {
        ...createGap(["a"], "too-large", "a"),
        position: { epoch: "0badcafe", offset: 1 },
      },
      "endings without an event": {
        ...eventOf(""),
        frame: NOTHING,
        position: { epoch: "0badcafe", offset: 1 },
        ending: "completed",
      },
    })) {
      it(`include ${what}`, () => {
        expect(rules().select(event)).to.equal(event);
        expect(rules().isLast(event)).to.equal(false);
      });
    }

    it("include events that the app sends with session.send(), except for until", () => {
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

/** Returns a promise-like object of another library. */
function thenable(then: () => void): unknown {
  // oxlint-disable-next-line unicorn/no-thenable -- an app may return such an object
  return { then };
}

function eventOf(data: string, event?: string): InboundEvent {
  return { channel: "a", event, data, frame: encodeEvent({ event, data }) };
}

/** Expects a gap that contains nothing of the event. */
function expectGap(own: InboundEvent | null): void {
  expect(own?.frame).to.equal('event: gap\ndata: {"channels":["a"],"reason":"invalid"}\n\n');
  expect(own?.data).to.not.include("secret");
}
