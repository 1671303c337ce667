import { ApiError, call } from "./api.js";
import { asObject, listAt, stringAt } from "./json.js";
import { createFollower } from "./task-follower.js";
import { advance, asTask, isFinal, type Progress, type Task } from "./task-model.js";

/** A piece of task output. */
export type Output =
  | { readonly type: "chunk" | "log"; readonly text: string }
  | { readonly type: "attempt"; readonly attempt: number };

export interface TasksView {
  readonly show: (newestFirst: readonly Task[]) => void;
  readonly write: (id: string, output: Output) => void;
  /** Removes the output, because a replay follows. */
  readonly clear: (id: string) => void;
}

export interface NewTask {
  readonly kind: string;
  readonly steps?: number;
  readonly stepMs?: number;
  readonly delayMs?: number;
  readonly attempts?: number;
}

export interface Tasks {
  readonly start: (task: NewTask) => Promise<void>;
  readonly cancel: (id: string) => Promise<void>;
  /** Requests the output of a task that finished before the page was opened. */
  readonly replayOutput: (id: string) => void;
  /** Adds a new task from the stream. Any page can have started it. */
  readonly appeared: (data: unknown) => void;
  readonly progressed: (progress: Progress) => void;
  readonly wrote: (type: "chunk" | "log", data: unknown) => void;
  /** Loads all tasks, and follows the unfinished ones on this new session. */
  readonly connected: (sessionId: string) => void;
  /** Stops following tasks, because the session ended. */
  readonly disconnected: () => void;
  /** Loads all tasks after a requeue, a purge or missing events. */
  readonly refresh: () => void;
}

const KEPT = 50;
const RETRY_MS = 2_000;

/** The newest tasks of the queue, newest first. */
export function createTasks(view: TasksView): Tasks {
  let newestFirst: readonly Task[] = [];
  /** Time when each task was added or finished. Answers to earlier requests are out of date. */
  const knownSince = new Map<string, number>();
  /** Finished tasks with a requested replay of their output. */
  const replayed = new Set<string>();

  const follower = createFollower({
    isWanted: (id) => {
      const task = find(id);
      return task !== undefined && (!isFinal(task.status) || replayed.has(id));
    },
    replayStarts: view.clear,
    answered: (answer, askedAt) => take(asTask(answer), askedAt),
    gone: lost,
  });

  function find(id: string): Task | undefined {
    return newestFirst.find((task) => task.id === id);
  }

  function put(task: Task): void {
    const before = find(task.id);
    if (before === undefined || isFinal(task.status) !== isFinal(before.status)) {
      knownSince.set(task.id, performance.now());
    }
    newestFirst = [task, ...newestFirst.filter(({ id }) => id !== task.id)].toSorted(
      (a, b) => b.createdAt - a.createdAt,
    );
    for (const { id } of newestFirst.slice(KEPT)) drop(id);
    view.show(newestFirst);
    if (isFinal(task.status)) {
      if (!replayed.has(task.id)) follower.unfollow(task.id);
    } else {
      void follower.follow(task.id);
    }
  }

  function drop(id: string): void {
    newestFirst = newestFirst.filter((task) => task.id !== id);
    knownSince.delete(id);
    replayed.delete(id);
    follower.unfollow(id);
  }

  /** Applies an answer to a request sent at `askedAt`, unless the stream has sent a newer state. */
  function take(task: Task | undefined, askedAt: number): void {
    if (task === undefined) return;
    const known = find(task.id);
    const isNews = known === undefined || (!isFinal(known.status) && task.seq >= known.seq);
    // The task finished before the request, but the answer says unfinished: it was requeued.
    const isRerun = known !== undefined && isFinal(known.status) && askedAt > knownSince.get(task.id)!;
    if (isNews || isRerun) put(task);
  }

  function lost(id: string): void {
    const task = find(id);
    if (task === undefined || isFinal(task.status)) return;
    put({ ...task, status: "unknown", message: "The server no longer has this task." });
  }

  async function ask(id: string): Promise<void> {
    const askedAt = performance.now();
    try {
      take(asTask(await call("GET", `/api/tasks/${encodeURIComponent(id)}`)), askedAt);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) lost(id);
    }
  }

  let live = false;
  let loading = false;
  let again = false;

  async function load(): Promise<void> {
    again = loading;
    if (loading) return;
    loading = true;
    const askedAt = performance.now();
    try {
      const tasks = listAt(await call("GET", "/api/tasks"), "tasks").map(asTask);
      const there = new Set(tasks.map((task) => task?.id));
      for (const { id } of newestFirst) {
        if (!there.has(id) && knownSince.get(id)! < askedAt) drop(id);
      }
      for (const task of tasks) take(task, askedAt);
      view.show(newestFirst);
    } catch {
      if (live) setTimeout(() => void load(), RETRY_MS);
    } finally {
      loading = false;
      if (again) void load();
    }
  }

  view.show(newestFirst);

  return {
    async start(task) {
      const id = stringAt(await call("POST", "/api/tasks", { body: { ...task } }), "id");
      if (id === undefined) throw new Error("The answer of the server has no task id.");
      // The stream sends new tasks too. If it has not sent this one, load it.
      if (find(id) === undefined) await ask(id);
    },

    async cancel(id) {
      const answer = await call("POST", `/api/tasks/${encodeURIComponent(id)}/cancel`);
      // The task ended before it was cancelled.
      if (answer["status"] !== "cancelled") await ask(id);
    },

    replayOutput(id) {
      replayed.add(id);
      void follower.follow(id);
    },

    appeared(data) {
      const task = asTask(data);
      // A known task already has a newer state.
      if (task !== undefined && find(task.id) === undefined) put(task);
    },

    progressed(progress) {
      const task = find(progress.taskId);
      if (task === undefined) return;
      if (progress.type === "started" && progress.attempt > 1) {
        view.write(task.id, { type: "attempt", attempt: progress.attempt });
      }
      const next = advance(task, progress);
      if (next !== task) put(next);
      // Events do not contain the due time, so load it.
      if (next !== task && next.status === "delayed") void ask(task.id);
      if (isFinal(progress.status) && progress.seq >= task.seq) {
        replayed.delete(task.id);
        follower.unfollow(task.id);
      }
    },

    wrote(type, data) {
      const object = asObject(data);
      const id = stringAt(object, "taskId");
      const text = stringAt(object, "text");
      if (id !== undefined && text !== undefined && find(id) !== undefined) view.write(id, { type, text });
    },

    connected(sessionId) {
      live = true;
      follower.session(sessionId);
      // Accept the server's state of all tasks, whatever the last session sent.
      newestFirst = newestFirst.map((task) => ({ ...task, seq: -1 }));
      void load();
    },

    disconnected() {
      live = false;
      follower.session(undefined);
    },

    refresh: () => void load(),
  };
}
