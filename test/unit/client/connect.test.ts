import { expect } from "chai";
import * as sinon from "sinon";
import { z } from "zod";

import {
  connect,
  defineEvents,
  type ConnectOptions,
  type Gap,
  type Message,
  type Status,
  type StreamConnection,
} from "../../../client/index.js";
import { flush, HEARTBEAT_MS, ScriptedSource } from "../../support/scripted-source.js";

class FakePage extends EventTarget {
  visibilityState = "visible";
}

describe("connect()", () => {
  let clock: sinon.SinonFakeTimers;
  let source: ScriptedSource;
  let page: FakePage;
  let stored: Map<string, string>;
  let streams: StreamConnection[];
  let statuses: Status[];

  beforeEach(() => {
    clock = sinon.useFakeTimers({ now: 1_000_000, toFake: ["setTimeout", "clearTimeout", "Date"] });
    sinon.stub(Math, "random").returns(0);
    source = new ScriptedSource();
    page = new FakePage();
    stored = new Map();
    streams = [];
    statuses = [];
    const events = new EventTarget();
    Object.assign(globalThis, {
      document: page,
      addEventListener: events.addEventListener.bind(events),
      removeEventListener: events.removeEventListener.bind(events),
      dispatchEvent: events.dispatchEvent.bind(events),
      sessionStorage: {
        getItem: (name: string) => stored.get(name) ?? null,
        setItem: (name: string, value: string) => void stored.set(name, value),
      },
    });
  });

  afterEach(() => {
    for (const stream of streams) stream.close();
    expect(clock.countTimers(), "timers after close()").to.equal(0);
    sinon.restore();
    for (const name of [
      "document",
      "addEventListener",
      "removeEventListener",
      "dispatchEvent",
      "sessionStorage",
    ])
      Reflect.deleteProperty(globalThis, name);
  });

  function open(options: ConnectOptions = {}): StreamConnection {
    const stream = connect(source, options);
    stream.onStatus((status) => statuses.push(status));
    streams.push(stream);
    return stream;
  }

  function fire(type: string, properties: object = {}): void {
    const target = type === "visibilitychange" || type === "resume" ? page : globalThis;
    (target as unknown as EventTarget).dispatchEvent(Object.assign(new Event(type), properties));
  }

  function states(): readonly string[] {
    return statuses.map((status) => ("reason" in status ? `${status.state} ${status.reason}` : status.state));
  }

  it("is open when the first event arrives, and calls the handlers of each event", () => {
    const stream = open();
    const heard: [unknown, Message][] = [];
    const remove = stream.on("order", (data, message) => heard.push([data, message]));
    expect(stream.status.state).to.equal("connecting");
    source.greet();
    source.say("order", { total: 5 }, "7");
    source.say("order", "plain text", "8");
    remove();
    source.say("order", null, "9");
    expect(heard).to.deep.equal([
      [{ total: 5 }, { event: "order", data: { total: 5 }, text: '{"total":5}', id: "7" }],
      ["plain text", { event: "order", data: "plain text", text: "plain text", id: "8" }],
    ]);
    expect(stream.lastEventId).to.equal("9");
    expect(states()).to.deep.equal(["open"]);
  });

  it("sets `status.error` only if the server sent no reason", async () => {
    const stream = open();
    const error = new Error("no ticket");
    await source.last.end({ reason: "url", isFinal: false, error });
    expect(stream.status).to.deep.include({ state: "waiting", reason: "url", error });
    clock.tick(60_000);
    source.greet();
    expect(stream.status).to.deep.equal({ state: "open" });
    source.say("closing", { reason: "drain" });
    await source.last.end({ reason: "network", isFinal: false, error });
    expect(stream.status).to.include({ reason: "drain" }).and.not.have.property("error");
  });

  it("reconnects after the server's retry with the id of the last event", async () => {
    const stream = open();
    source.greet();
    source.last.listener.onRetry(1_000);
    source.say("message", "a", "7");
    await source.last.end();
    expect(stream.status).to.deep.equal({ state: "waiting", reason: "network", retryAt: Date.now() + 1_000 });
    clock.tick(999);
    expect(source.attempts).to.have.length(1);
    clock.tick(1);
    expect(source.last.request.lastEventId).to.equal("7");
    source.greet();
    expect(states()).to.deep.equal(["open", "waiting network", "connecting", "open"]);
  });

  it("waits as long as Retry-After asks, also if a person looks at the page", async () => {
    open();
    await source.last.end({ reason: "http-503", isFinal: false, retryAfterMs: 9_000 });
    clock.tick(8_999);
    fire("visibilitychange");
    expect(source.attempts).to.have.length(1);
    clock.tick(1);
    expect(source.attempts).to.have.length(2);
  });

  it("tells the code of a retryable error and the reason of a closing event", async () => {
    open();
    source.say("error", { code: "REDIS_UNAVAILABLE", message: "" });
    await source.last.end();
    clock.tick(2_000);
    source.greet();
    source.say("closing", { reason: "drain" });
    await source.last.end();
    expect(states()).to.deep.equal(["waiting REDIS_UNAVAILABLE", "connecting", "open", "waiting drain"]);
  });

  for (const reason of ["completed", "broken"]) {
    it(`ends if the server closes the stream with "${reason}"`, async () => {
      const stream = open();
      source.greet();
      source.say("closing", { reason });
      await source.last.end();
      expect(stream.status).to.deep.equal({ state: "closed", reason });
    });
  }

  it("does not take a broken channel for the reason of a later end", async () => {
    const stream = open();
    const codes: string[] = [];
    stream.on("error", ({ code }) => codes.push(code));
    source.greet();
    source.say("error", { code: "BROKEN", message: "" });
    await source.last.end();
    expect(codes).to.deep.equal(["BROKEN"]);
    expect(states()).to.deep.equal(["open", "waiting network"]);
  });

  it("ends if the server refuses it", async () => {
    const stream = open();
    await source.last.end({ reason: "forbidden", isFinal: true });
    expect(stream.status).to.deep.equal({ state: "closed", reason: "forbidden" });
  });

  it("tries at once with a new token if the server answers 401, but only once", async () => {
    const stream = open();
    await source.last.end({ reason: "unauthorized", isFinal: false });
    expect(source.attempts.map(({ request }) => request.isRefused)).to.deep.equal([false, true]);
    await source.last.end({ reason: "unauthorized", isFinal: true });
    expect(stream.status).to.deep.equal({ state: "closed", reason: "unauthorized" });
  });

  it("asks for a new token again if another failure came between", async () => {
    open();
    await source.last.end({ reason: "unauthorized", isFinal: false });
    await source.last.end();
    clock.tick(2_000);
    await source.last.end({ reason: "unauthorized", isFinal: false });
    expect(source.attempts.map(({ request }) => request.isRefused)).to.deep.equal([false, true, false, true]);
  });

  it("asks for a new token again after the stream was open", async () => {
    open();
    await source.last.end({ reason: "unauthorized", isFinal: false });
    source.greet();
    await source.last.end({ reason: "ended", isFinal: false });
    clock.tick(2_000);
    expect(source.last.request.isRefused).to.equal(false);
  });

  it("goes by the interval of heartbeats that the server tells", () => {
    open();
    source.greet(300);
    clock.tick(749);
    expect(source.attempts).to.have.length(1);
    clock.tick(1);
    expect(source.attempts).to.have.length(2);
  });

  it("finds a silent connection in time after the clock was set back", () => {
    open();
    source.greet();
    clock.setSystemTime(Date.now() - 3_600_000);
    clock.tick(5 * HEARTBEAT_MS);
    expect(source.attempts).to.have.length(2);
  });

  it("reconnects at once if the connection is silent for two and a half heartbeats", () => {
    open();
    source.greet();
    const first = source.last;
    clock.tick(HEARTBEAT_MS);
    first.listener.onActivity();
    clock.tick(2.5 * HEARTBEAT_MS - 1);
    expect(source.attempts).to.have.length(1);
    clock.tick(1);
    expect(source.attempts).to.have.length(2);
    expect(first.request.signal.aborted).to.equal(true);
    expect(states()).to.deep.equal(["open", "connecting"]);
  });

  it("does not wait for heartbeats that the server does not send", () => {
    open();
    source.greet(null);
    clock.tick(24 * 3_600_000);
    expect(source.attempts).to.have.length(1);
  });

  it("gives up a connection without a first event, for example behind a proxy that buffers", () => {
    open();
    clock.tick(20_000);
    expect(states()).to.deep.equal(["waiting silent"]);
  });

  it("ignores what a connection tells that was given up", async () => {
    const stream = open();
    source.greet();
    const first = source.last;
    clock.tick(2.5 * HEARTBEAT_MS);
    const heard: unknown[] = [];
    stream.on("message", (data) => heard.push(data));
    first.listener.onMessage({ event: "message", text: "late", id: "9" });
    await first.end();
    expect(heard).to.deep.equal([]);
    expect(stream.lastEventId).to.equal("");
    expect(stream.status.state).to.equal("connecting");
  });

  it("calls onGap for a gap event, and for data that does not match its schema", () => {
    const events = defineEvents({ order: z.object({ total: z.number() }) });
    const stream = connect(source, { events });
    streams.push(stream);
    const totals: number[] = [];
    const gaps: Gap[] = [];
    stream.on("order", (order) => totals.push(order.total));
    stream.onGap((gap) => gaps.push(gap));
    source.greet();
    source.say("gap", { channels: ["orders"], reason: "trimmed" });
    source.say("order", { total: "5" });
    source.say("order", { total: 6 });
    expect(gaps).to.deep.equal([
      { channels: ["orders"], reason: "trimmed" },
      { channels: [], reason: "invalid" },
    ]);
    expect(totals).to.deep.equal([6]);
  });

  it("gives text to a schema for text, also if the text is JSON", () => {
    const events = defineEvents({
      token: z.string(),
      count: z.number(),
      order: z.object({ id: z.number() }),
    });
    const stream = connect(source, { events });
    streams.push(stream);
    const heard: unknown[] = [];
    for (const name of ["token", "count", "order"] as const) stream.on(name, (data) => heard.push(data));
    source.greet();
    for (const text of ["1.0", "null", '"', "word", '{"a":1}']) source.say("token", text);
    source.say("count", "42");
    source.say("order", { id: 1 });
    expect(heard).to.deep.equal(["1.0", "null", '"', "word", '{"a":1}', 42, { id: 1 }]);
  });

  it("does not end because of a schema that throws, or an event that is named as a method", () => {
    const schema = z.unknown().transform(() => {
      throw new Error("a bug");
    });
    const stream = connect(source, { events: defineEvents({ order: schema }) });
    streams.push(stream);
    const gaps: Gap[] = [];
    stream.onGap((gap) => gaps.push(gap));
    source.greet();
    for (const event of ["order", "constructor", "__proto__"]) source.say(event, 1);
    expect(gaps).to.deep.equal([{ channels: [], reason: "invalid" }]);
  });

  it("reports an error of a handler, and calls the other handlers", async () => {
    const stream = open();
    const tasks: (() => void)[] = [];
    sinon.stub(globalThis, "queueMicrotask").callsFake((task) => void tasks.push(task));
    const heard: unknown[] = [];
    stream.on("message", () => {
      throw new Error("a bug");
    });
    stream.on("message", (data) => heard.push(data));
    source.greet();
    source.say("message", "a");
    expect(heard).to.deep.equal(["a"]);
    expect(tasks).to.have.length(1);
    expect(tasks[0]).to.throw("a bug");
  });

  it("calls a handler once for each time that it was added, and a new one from the next event on", () => {
    const stream = open();
    const heard: string[] = [];
    const handler = (): void => void heard.push("twice");
    const remove = stream.on("message", handler);
    stream.on("message", handler);
    stream.on("message", () => stream.on("message", () => heard.push("new")));
    source.greet();
    source.say("message", 1);
    expect(heard).to.deep.equal(["twice", "twice"]);
    remove();
    source.say("message", 2);
    expect(heard.slice(2)).to.deep.equal(["twice", "new"]);
  });

  it("calls no handler of events after one of them has closed the stream", () => {
    const stream = open();
    const heard: unknown[] = [];
    stream.on("message", (data) => {
      heard.push(data);
      stream.close();
    });
    stream.on("message", (data) => heard.push(data));
    source.greet();
    for (const data of [1, 2]) source.say("message", data);
    expect(heard).to.deep.equal([1]);
    expect(states()).to.deep.equal(["open", "closed app"]);
  });

  it("keeps control events from the iterator, and gives them to their own handlers", async () => {
    const stream = open();
    const messages = stream[Symbol.asyncIterator]();
    const recovered: boolean[] = [];
    stream.on("connected", (data) => recovered.push(data.recovered));
    source.greet();
    source.say("gap", { reason: "trimmed", channels: ["a"] });
    source.say("order", 1, "7");
    const message = { event: "order", data: 1, text: "1", id: "7" };
    expect(await messages.next()).to.deep.equal({ done: false, value: message });
    expect(recovered).to.deep.equal([false]);
  });

  it("refuses invalid options with a TypeError that names them", () => {
    const wrong: readonly (readonly [name: string, options: object])[] = [
      ['unknown option "maxretryMs"', { maxretryMs: 1_000 }],
      ["maxRetryMs", { maxRetryMs: -1 }],
      ["pauseHiddenAfterMs", { pauseHiddenAfterMs: NaN }],
      ["lastEventId", { lastEventId: "a\nb" }],
      ["keepId", { keepId: "local" }],
      ["events", { events: {} }],
      ["token", { token: "secret" }],
      ["fetch", { fetch: {} }],
      ["headers", { headers: { "a b": "c" } }],
      ["headers or credentials", { credentials: "all" }],
    ];
    for (const [name, options] of wrong) {
      expect(() => connect("http://localhost/", options as ConnectOptions), name).to.throw(TypeError, name);
    }
    for (const url of [
      "/relative",
      "http://",
      "ftp://localhost/",
      "http://ann:secret@localhost/",
      undefined,
    ]) {
      expect(() => connect(url as string), url)
        .to.throw(TypeError, "URL")
        .with.property("message")
        .that.does.not.include("secret");
    }
    expect(() => connect(() => "/x", { keepId: "session" })).to.throw(TypeError, "keepId");
    expect(() => open().on("message", undefined!)).to.throw(TypeError, "handler");
    expect(() => defineEvents({ gap: z.string() })).to.throw(TypeError, "reserved");
    expect(() => defineEvents({ order: {} as z.ZodString })).to.throw(TypeError, "Standard Schema");
  });

  describe("as an iterator", () => {
    it("gives the events in order, until the stream is closed", async () => {
      const stream = open();
      const texts: string[] = [];
      const reading = (async () => {
        for await (const { text } of stream) texts.push(text);
      })();
      source.greet(null);
      for (const text of ["a", "b"]) source.say("message", text);
      await flush();
      source.say("message", "c");
      stream.close();
      await reading;
      expect(texts).to.deep.equal(["a", "b", "c"]);
    });

    it("makes the source wait while 256 events are unread", async () => {
      const stream = open();
      const messages = stream[Symbol.asyncIterator]();
      source.greet(HEARTBEAT_MS);
      for (let count = 0; count < 256; count++) source.say("message", String(count));
      const waiting = source.last.listener.ready();
      expect(waiting).to.be.a("promise");
      // The client does not read, so the silence is its own.
      clock.tick(10 * HEARTBEAT_MS);
      expect(source.attempts).to.have.length(1);
      for (let count = 0; count < 256; count++) await messages.next();
      await waiting;
      expect(source.last.listener.ready()).to.equal(undefined);
      clock.tick(2.5 * HEARTBEAT_MS);
      expect(source.attempts).to.have.length(2);
    });

    it("ends when the loop ends, also while it waits for an event", async () => {
      const messages = open()[Symbol.asyncIterator]();
      const next = messages.next();
      source.greet();
      expect(await messages.return!()).to.deep.equal({ done: true, value: undefined });
      expect((await next).done).to.equal(true);
      source.say("message", "a");
      expect((await messages.next()).done).to.equal(true);
    });

    it("ends at once after the stream is closed", async () => {
      const stream = open();
      stream.close();
      expect((await stream[Symbol.asyncIterator]().next()).done).to.equal(true);
    });
  });

  describe("in a page", () => {
    it("reconnects at once when the network is back, and tells that it was away", () => {
      open();
      source.greet();
      fire("offline");
      fire("online");
      source.greet();
      expect(states()).to.deep.equal(["open", "waiting offline", "connecting", "open"]);
    });

    it("tells that the browser is offline if a try fails then", async () => {
      open();
      const navigator = Object.getOwnPropertyDescriptor(globalThis, "navigator");
      Object.defineProperty(globalThis, "navigator", { value: { onLine: false }, configurable: true });
      try {
        await source.last.end();
      } finally {
        Reflect.deleteProperty(globalThis, "navigator");
        if (navigator !== undefined) Object.defineProperty(globalThis, "navigator", navigator);
      }
      expect(states()).to.deep.equal(["waiting offline"]);
    });

    for (const type of ["resume", "visibilitychange"]) {
      it(`reconnects at once on ${type} if a heartbeat is missing`, () => {
        open();
        source.greet();
        clock.setSystemTime(Date.now() + 1.05 * HEARTBEAT_MS);
        fire(type);
        expect(source.attempts).to.have.length(1);
        clock.setSystemTime(Date.now() + 0.1 * HEARTBEAT_MS);
        fire(type);
        expect(source.attempts).to.have.length(2);
      });
    }

    it("tries at once when a person sees the page", async () => {
      open();
      await source.last.end();
      fire("visibilitychange");
      expect(source.attempts).to.have.length(2);
    });

    it("pauses while the page is hidden, if asked, and catches up when it is visible", () => {
      open({ pauseHiddenAfterMs: 60_000 });
      source.greet();
      source.say("message", "a", "7");
      page.visibilityState = "hidden";
      fire("visibilitychange");
      clock.tick(30_000);
      source.last.listener.onActivity();
      clock.tick(30_000);
      page.visibilityState = "visible";
      fire("visibilitychange");
      expect(source.last.request.lastEventId).to.equal("7");
      expect(states()).to.deep.equal(["open", "paused hidden", "connecting"]);
    });

    it("ends its connection before the page goes to the page cache, and connects when it is back", () => {
      open();
      source.greet();
      const { signal } = source.last.request;
      fire("pagehide", { persisted: true });
      expect(signal.aborted).to.equal(true);
      fire("pageshow", { persisted: true });
      expect(states()).to.deep.equal(["open", "paused page-cache", "connecting"]);
    });

    it('keeps the id over a reload with keepId: "session"', async () => {
      const stream = open({ keepId: "session" });
      source.greet();
      source.say("message", "a", "7");
      await flush();
      stream.close();
      open({ keepId: "session", lastEventId: "1" });
      expect(source.last.request.lastEventId).to.equal("7");
    });
  });

  it("closes with its AbortSignal, also with one that has fired before", () => {
    const closing = new AbortController();
    const stream = open({ signal: closing.signal });
    source.greet();
    closing.abort();
    expect(stream.status).to.deep.equal({ state: "closed", reason: "app" });
    expect(source.last.request.signal.aborted).to.equal(true);
    expect(open({ signal: closing.signal }).status.state).to.equal("closed");
    expect(source.attempts).to.have.length(1);
  });

  it("starts no timer in a hidden page if it is closed from the start", () => {
    page.visibilityState = "hidden";
    expect(open({ signal: AbortSignal.abort(), pauseHiddenAfterMs: 1_000 }).status.state).to.equal("closed");
    expect(clock.countTimers()).to.equal(0);
  });

  it("does not connect again after a handler of the status has closed it", async () => {
    const stream = open();
    stream.onStatus(() => stream.close());
    await source.last.end();
    clock.tick(60_000);
    expect(source.attempts).to.have.length(1);
    expect(states()).to.deep.equal(["waiting network", "closed app"]);
  });
});
