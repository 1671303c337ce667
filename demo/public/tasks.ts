import { ApiError, call } from "./api.js";
import { asObject, numberAt, parse, stringAt } from "./json.js";

const STATUSES = ["queued", "running", "succeeded", "failed"] as const;

/** "unknown" is the page's own: the server no longer has the task, so no more will come of it. */
export type Status = (typeof STATUSES)[number] | "unknown";

export interface Task {
  readonly id: string;
  readonly kind: string;
  readonly status: Status;
  readonly progress: number;
  readonly message: string;
}

export interface Progress {
  readonly taskId: string;
  readonly status: Status;
  readonly progress: number;
  readonly message: string;
}

export interface Tasks {
  /** Starts a task on the server and follows it. */
  readonly start: (kind: string, steps: number | undefined, stepMs: number | undefined) => Promise<void>;
  /** Takes progress that came over the stream. */
  readonly progressed: (progress: Progress) => void;
  /** Follows all unfinished tasks on this new session. */
  readonly connected: (sessionId: string) => void;
  /** The stream is down, so there is no session to follow a task on. */
  readonly disconnected: () => void;
  /** Asks the server for all unfinished tasks, after a gap in the stream. */
  readonly refresh: () => void;
}

const KEPT = 50;
const RETRY_MS = 2_000;

export function isFinal(status: Status): boolean {
  return status === "succeeded" || status === "failed" || status === "unknown";
}

export function asProgress(data: unknown, idKey = "taskId"): Progress | undefined {
  const object = asObject(data);
  const taskId = stringAt(object, idKey);
  const status = STATUSES.find((each) => each === stringAt(object, "status"));
  if (taskId === undefined || status === undefined) return undefined;
  const progress = Math.min(100, Math.max(0, numberAt(object, "progress") ?? 0));
  return { taskId, status, progress, message: stringAt(object, "message") ?? "" };
}

/**
 * The task after this progress. A session that begins anew, or an answer that overtakes the stream, can tell an older
 * state after a newer one: the bar never goes back, and what has ended stays ended.
 */
function advance(task: Task, next: Progress): Task {
  if (isFinal(task.status)) return task;
  const older = next.progress < task.progress || (task.status === "running" && next.status === "queued");
  if (older && !isFinal(next.status)) return task;
  return {
    ...task,
    status: next.status,
    progress: Math.max(task.progress, next.progress),
    message: next.message,
  };
}

/** The tasks this tab has started, newest first. */
export function createTasks(show: (newestFirst: readonly Task[]) => void): Tasks {
  // A reload would otherwise lose sight of tasks that are still running.
  const storageKey = "redis-sse-demo:tasks";
  const newestFirst: Task[] = restored();
  let session: string | undefined;
  /** Tasks the server sends to the present session. */
  const followed = new Set<string>();

  function restored(): Task[] {
    const stored = parse(sessionStorage.getItem(storageKey));
    if (!Array.isArray(stored)) return [];
    return stored.flatMap((each: unknown) => {
      const progress = asProgress(each, "id");
      if (progress === undefined) return [];
      const { taskId: id, status, progress: percent, message } = progress;
      return [{ id, kind: stringAt(asObject(each), "kind") ?? "task", status, progress: percent, message }];
    });
  }

  function find(id: string): Task | undefined {
    return newestFirst.find((task) => task.id === id);
  }

  function update(next: Progress): void {
    const index = newestFirst.findIndex((task) => task.id === next.taskId);
    const task = newestFirst[index];
    if (task === undefined) return;
    const changed = advance(task, next);
    if (changed === task) return;
    newestFirst[index] = changed;
    show(newestFirst);
    if (isFinal(changed.status)) unfollow(changed.id);
  }

  function add(task: Task): void {
    newestFirst.unshift(task);
    while (newestFirst.length > KEPT) {
      // The oldest that has ended goes first; with none (-1) it is the oldest of all.
      const ended = newestFirst.findLastIndex((each) => isFinal(each.status));
      const [dropped] = newestFirst.splice(ended, 1);
      if (dropped !== undefined) unfollow(dropped.id);
    }
    show(newestFirst);
  }

  function route(sessionId: string, taskId: string): string {
    return `/api/streams/${encodeURIComponent(sessionId)}/tasks/${encodeURIComponent(taskId)}`;
  }

  function isWanted(id: string, sessionId: string): boolean {
    const task = find(id);
    return session === sessionId && task !== undefined && !isFinal(task.status);
  }

  /** Adds the task's channel to the tab's stream, which makes the server send its present progress as well. */
  async function follow(id: string): Promise<void> {
    const sessionId = session;
    if (sessionId === undefined) return;
    while (isWanted(id, sessionId)) {
      try {
        await call("PUT", route(sessionId, id));
      } catch {
        // Until the stream takes it, the task's state comes by asking for it.
        await ask(id);
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
        continue;
      }
      if (session === sessionId) followed.add(id);
      // The server's answer and the task's last event race each other: the event may have come first.
      if (!isWanted(id, sessionId)) unfollow(id);
      return;
    }
  }

  function unfollow(id: string): void {
    if (session === undefined || !followed.delete(id)) return;
    // Nothing depends on it: the channel goes with the session in any case.
    call("DELETE", route(session, id)).catch(() => undefined);
  }

  async function ask(id: string): Promise<void> {
    try {
      const progress = asProgress(await call("GET", `/api/tasks/${encodeURIComponent(id)}`), "id");
      if (progress !== undefined) update(progress);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) {
        update({
          taskId: id,
          status: "unknown",
          progress: 0,
          message: "The server no longer has this task.",
        });
      }
    }
  }

  function unfinished(): string[] {
    return newestFirst.filter((task) => !isFinal(task.status)).map((task) => task.id);
  }

  addEventListener("pagehide", () => sessionStorage.setItem(storageKey, JSON.stringify(newestFirst)));
  show(newestFirst);

  return {
    async start(kind, steps, stepMs) {
      const answer = await call("POST", "/api/tasks", {
        body: {
          kind,
          ...(steps === undefined ? {} : { steps }),
          ...(stepMs === undefined ? {} : { stepMs }),
        },
      });
      const id = stringAt(answer, "id");
      if (id === undefined) throw new Error("The server did not say which task it has started.");
      add({ id, kind, status: "queued", progress: 0, message: "" });
      void follow(id);
    },

    progressed: update,

    connected(sessionId) {
      session = sessionId;
      followed.clear();
      for (const id of unfinished()) void follow(id);
    },

    disconnected() {
      session = undefined;
      followed.clear();
    },

    refresh() {
      for (const id of unfinished()) void ask(id);
    },
  };
}
