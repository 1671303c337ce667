import { expect } from "chai";

import { RedisSseError } from "../../../lib/errors.js";
import {
  assertTaskId,
  parseTask,
  progressChannel,
  progressOf,
  taskOfChannel,
} from "../../../lib/queue/task.js";

describe("task", () => {
  it("is published on its channel with its current state", () => {
    const fields = { status: "running", progress: "5", message: "reading", attempt: "2" };
    const task = parseTask("a", new Map(Object.entries(fields)));
    const told = { taskId: "a", progress: 5, message: "reading", status: "running", attempt: 2, seq: 0 };
    expect(progressOf(task)).to.deep.equal({ ...told, type: "progress" });
    expect(progressOf({ ...task, data: [1] })).to.deep.equal({ ...told, type: "progress", data: [1] });
    for (const [status, attempt, type] of [
      ["queued", 0, "queued"],
      ["delayed", 0, "queued"],
      ["queued", 2, "retry"],
      ["delayed", 2, "retry"],
      ["cancelled", 2, "cancelled"],
    ] as const)
      expect(progressOf({ ...task, status, attempt })).to.include({ status, type });
  });

  it("is identified by the name of its channel", () => {
    expect(taskOfChannel(progressChannel("a-1"))).to.equal("a-1");
    for (const channel of ["task_progress:", "task_progress:a b", "task_progress:a:b", "news"])
      expect(taskOfChannel(channel), channel).to.equal(null);
  });

  it("rejects an invalid id without repeating it", () => {
    expect(() => assertTaskId("<script>")).to.throw(
      RedisSseError,
      /^Invalid task id\. Use 1 to 128 (?!.*script)/,
    );
    expect(() => assertTaskId("Az09_-")).to.not.throw();
  });
});
