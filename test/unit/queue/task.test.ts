import { expect } from "chai";

import { RedisSseError } from "../../../lib/errors.js";
import {
  isFinished,
  progressChannel,
  TaskFailure,
  assertTaskId,
  parseTask,
  taskOfChannel,
} from "../../../lib/queue/task.js";

const fields = (values: Record<string, string>): ReadonlyMap<string, string> =>
  new Map(Object.entries(values));

describe("a task's fields", () => {
  it("are read from its hash", () => {
    const task = parseTask(
      "a",
      fields({
        result: '{"pages":3}',
        finishedAt: "1700000003000",
        startedAt: "1700000002000",
        createdAt: "1700000001000",
        attempt: "2",
        message: "done",
        data: '{"rows":7}',
        progress: "100",
        status: "succeeded",
        payload: "[1]",
        kind: "report",
        queue: "reports",
        priority: "-5",
        token: "secret",
        error: "secret",
        due: "1700000001500",
      }),
    );
    expect(task).to.deep.equal({
      id: "a",
      queue: "reports",
      kind: "report",
      payload: [1],
      status: "succeeded",
      priority: -5,
      progress: 100,
      message: "done",
      data: { rows: 7 },
      attempt: 2,
      createdAt: "2023-11-14T22:13:21.000Z",
      runAt: null,
      startedAt: "2023-11-14T22:13:22.000Z",
      finishedAt: "2023-11-14T22:13:23.000Z",
      result: { pages: 3 },
    });
  });

  it("say when it is due only as long as it waits for that: for the first time, or again", () => {
    const delayed = { status: "delayed", delayed: "1700000001000" };
    expect(parseTask("a", fields(delayed)).runAt).to.equal("2023-11-14T22:13:21.000Z");
    expect(parseTask("a", fields({ ...delayed, due: "1700000002000" })).runAt).to.equal(
      "2023-11-14T22:13:22.000Z",
    );
    expect(parseTask("a", fields({ ...delayed, status: "running" })).runAt).to.equal(null);
  });
});

describe("a task's small parts", () => {
  it("its end is succeeded, failed or cancelled", () => {
    const all = ["queued", "delayed", "running", "succeeded", "failed", "cancelled"] as const;
    expect(all.filter(isFinished)).to.deep.equal(["succeeded", "failed", "cancelled"]);
  });

  it("its channel is known by its name", () => {
    expect(progressChannel("a-1")).to.equal("task_progress:a-1");
    expect(taskOfChannel("task_progress:a-1")).to.equal("a-1");
    for (const channel of ["task_progress:", "task_progress:a b", "task_progress:a:b", "news"])
      expect(taskOfChannel(channel), channel).to.equal(null);
  });

  it("its id is refused with a code and a sentence, and not repeated", () => {
    expect(() => assertTaskId("<script>")).to.throw(RedisSseError, /^expected a task id of 1 to 128 /);
    expect(() => assertTaskId("Az09_-")).to.not.throw();
  });

  it("its failure is an error by name", () => {
    expect(new TaskFailure("no")).to.be.instanceOf(Error);
    expect(new TaskFailure("no")).to.include({ name: "TaskFailure", message: "no", retry: false });
    expect(new TaskFailure("no", { retry: true })).to.include({ retry: true });
  });
});
