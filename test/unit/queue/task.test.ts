import { expect } from "chai";

import { isFinished, progressChannel, progressOf, RedisSseError, TaskFailure } from "../../../lib/index.js";
import { assertTaskId, parseTask } from "../../../lib/queue/task.js";

describe("a task's fields", () => {
  it("are read from the flat list that a script answers, whatever their order", () => {
    const task = parseTask(
      [
        ["result", '{"pages":3}'],
        ["finishedAt", "1700000003000"],
        ["startedAt", "1700000002000"],
        ["createdAt", "1700000001000"],
        ["attempt", "2"],
        ["message", "done"],
        ["progress", "100"],
        ["status", "succeeded"],
        ["payload", "[1]"],
        ["kind", "report"],
        ["id", "a"],
        ["token", "secret"],
      ].flat(),
    );
    expect(task).to.deep.equal({
      id: "a",
      kind: "report",
      payload: [1],
      status: "succeeded",
      progress: 100,
      message: "done",
      attempt: 2,
      createdAt: "2023-11-14T22:13:21.000Z",
      startedAt: "2023-11-14T22:13:22.000Z",
      finishedAt: "2023-11-14T22:13:23.000Z",
      result: { pages: 3 },
    });
  });

  it("that are not there have the values of a task that waits", () => {
    expect(parseTask(["id", "a"])).to.deep.equal({
      id: "a",
      kind: "",
      payload: null,
      status: "queued",
      progress: 0,
      message: "",
      attempt: 0,
      createdAt: "",
      startedAt: null,
      finishedAt: null,
      result: null,
    });
  });

  it("that are none at all are no task", () => {
    expect(parseTask([])).to.equal(null);
    expect(parseTask(["message", "left over"])).to.equal(null);
  });

  it("named like parts of an object are nothing special", () => {
    const task = parseTask(["__proto__", "polluted", "constructor", "polluted", "id", "a"]);
    expect(task).to.include({ id: "a", kind: "" });
    expect(Object.getPrototypeOf(task)).to.equal(Object.prototype);
  });
});

describe("a task's small parts", () => {
  it("its end is succeeded or failed", () => {
    expect((["queued", "running", "succeeded", "failed"] as const).map(isFinished)).to.deep.equal([
      false,
      false,
      true,
      true,
    ]);
  });

  it("its progress is what a stream of it begins with", () => {
    const task = parseTask(["id", "a", "status", "running", "progress", "5", "message", "reading"])!;
    expect(progressOf(task)).to.deep.equal({
      taskId: "a",
      progress: 5,
      message: "reading",
      status: "running",
    });
    expect(progressChannel("a")).to.equal("task_progress:a");
  });

  it("its id is refused with a code and a sentence, and not repeated", () => {
    expect(() => assertTaskId("<script>")).to.throw(RedisSseError, /^expected a task id of 1 to 128 /);
    expect(() => assertTaskId("Az09_-")).to.not.throw();
  });

  it("its failure is an error by name", () => {
    expect(new TaskFailure("no")).to.be.instanceOf(Error).and.include({ name: "TaskFailure", message: "no" });
  });
});
