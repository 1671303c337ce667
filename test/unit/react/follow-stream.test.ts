import { expect } from "chai";
import * as sinon from "sinon";

import { createFollowStore, type StreamReducer } from "../../../react/follow-stream.js";
import type { StreamStore } from "../../../react/stream-store.js";
import { answered, taskReducer, type TaskState } from "../../../react/task-state.js";
import { flush, ScriptedSource } from "../../support/scripted-source.js";
import { textReducer, type TextStreamResult } from "../../../react/use-text-stream.js";

describe("the state of a followed stream", () => {
  let clock: sinon.SinonFakeTimers;
  let source: ScriptedSource;
  let listener: sinon.SinonSpy;
  let unsubscribe: () => void;

  beforeEach(() => {
    clock = sinon.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
    source = new ScriptedSource();
    listener = sinon.spy();
  });

  afterEach(() => {
    unsubscribe();
    expect(source.openCount, "connections").to.equal(0);
    expect(clock.countTimers(), "timers").to.equal(0);
    sinon.restore();
  });

  async function start<State>(reducer: StreamReducer<State>): Promise<StreamStore<State>> {
    const store = createFollowStore(source, { current: {} }, reducer);
    unsubscribe = store.subscribe(listener);
    await flush();
    return store;
  }

  /** The state after the next frame. */
  function shown<State>(store: StreamStore<State>): State {
    clock.tick(0);
    return store.getSnapshot();
  }

  const startText = (): Promise<StreamStore<TextStreamResult>> => start(textReducer);

  it("opens a connection with its first listener, one for a repeated subscription", async () => {
    const store = createFollowStore(source, { current: {} }, textReducer);
    store.subscribe(listener)();
    unsubscribe = store.subscribe(listener);
    expect(source.attempts).to.have.length(0);
    await flush();
    expect(source.attempts).to.have.length(1);
  });

  it("tells its listeners once for many events, and never after the last one has left", async () => {
    const store = await startText();
    clock.tick(0);
    listener.resetHistory();
    const before = store.getSnapshot();
    for (let word = 0; word < 100; word++) source.say("chunk", `${word} `);
    expect(store.getSnapshot(), "before the frame").to.equal(before);
    expect(shown(store).text).to.match(/^0 1 .* 99 $/);
    expect(listener.callCount).to.equal(1);
    source.say("chunk", "late");
    unsubscribe();
    source.say("chunk", "later");
    clock.tick(100);
    expect(listener.callCount).to.equal(1);
  });

  it("joins the text of events as the server sent it", async () => {
    const store = await startText();
    for (const [event, text] of [
      ["connected", { heartbeatMs: null }],
      ["chunk", "1"],
      ["message", '"2"'],
      ["other", "x"],
    ] as const)
      source.say(event, text);
    expect(shown(store)).to.deep.equal({
      text: '1"2"',
      isDone: false,
      status: { state: "open" },
      error: null,
    });
    await source.last.end({ reason: "completed", isFinal: true });
    expect(shown(store)).to.deep.include({ isDone: true, error: null });
  });

  it("starts again from the beginning after a gap, without the old text", async () => {
    const store = await startText();
    source.say("chunk", "Hello, ");
    source.say("gap", { reason: "slow", channels: ["a"] });
    source.attempts[0]!.listener.onMessage({ event: "chunk", text: "of the first connection", id: "2" });
    expect(shown(store).text).to.equal("");
    expect(source.attempts.map(({ request }) => request.lastEventId)).to.deep.equal(["", ""]);
    expect(source.openCount).to.equal(1);
    source.say("chunk", "Hello, world");
    await source.last.end({ reason: "completed", isFinal: true });
    expect(shown(store)).to.deep.include({ text: "Hello, world", isDone: true, error: null });
  });

  it("tells that the beginning is lost if the second connection has a gap too", async () => {
    const store = await startText();
    source.say("gap", { reason: "trimmed", channels: [] });
    source.say("gap", { reason: "trimmed", channels: [] });
    source.say("chunk", "the rest");
    await source.last.end({ reason: "completed", isFinal: true });
    expect(source.attempts).to.have.length(2);
    expect(shown(store)).to.deep.include({ text: "the rest", isDone: false, error: "trimmed" });
  });

  it("tells why the server refused the stream", async () => {
    const store = await startText();
    await source.last.end({ reason: "forbidden", isFinal: true });
    expect(shown(store)).to.deep.include({ isDone: false, error: "forbidden" });
  });

  describe("of a task", () => {
    let store: StreamStore<TaskState>;
    let seq: number;

    beforeEach(async () => {
      seq = 0;
      store = await start(taskReducer);
    });

    const tell = (type: string, status: string, more: object = {}): void =>
      source.say("message", { type, status, seq: ++seq, progress: 0, message: type, ...more });

    it("drops the output of earlier attempts, and ignores events that it knows", () => {
      tell("started", "running");
      source.say("chunk", "first");
      tell("retry", "delayed", { progress: 30 });
      tell("started", "running", { progress: 30 });
      source.say("chunk", "sec");
      tell("progress", "running", { seq: 2, progress: 99 });
      source.say("chunk", "ond");
      expect(shown(store)).to.include({ status: "running", progress: 30, output: "second", error: null });
    });

    it("tells the message of a failed task, and keeps its state", () => {
      tell("failed", "failed", { message: "the file is empty" });
      tell("progress", "running");
      expect(shown(store)).to.include({ status: "failed", error: "the file is empty" });
    });

    it("ignores data of other publishers", () => {
      for (const data of ["text", "7", null, {}, { seq: 1, status: "toString", progress: 1, message: "" }])
        source.say("message", data);
      expect(shown(store)).to.include({ status: null, progress: 0, message: "" });
    });

    it("applies the answer to a request to cancel it, unless it has ended", () => {
      tell("started", "running");
      store.update((state) => answered(state, { status: null, error: "http-503" }));
      expect(shown(store)).to.include({ status: "running", error: "http-503" });
      store.update((state) => answered(state, { status: "cancelled", error: null }));
      tell("progress", "running");
      expect(shown(store)).to.include({ status: "cancelled", error: null });
      store.update((state) => answered(state, { status: "succeeded", error: null }));
      expect(shown(store)).to.include({ status: "cancelled" });
    });
  });
});
