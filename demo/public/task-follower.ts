import { ApiError, call } from "./api.js";

export interface TaskFollower {
  /** Adds the task to this tab's stream. The stream replays the task's history. */
  readonly follow: (id: string) => Promise<void>;
  readonly unfollow: (id: string) => void;
  /** Sets the session. A new session follows no tasks. Use `undefined` while the page is disconnected. */
  readonly session: (id: string | undefined) => void;
}

export interface FollowedTasks {
  readonly isWanted: (id: string) => boolean;
  /** The replay of the task's history is about to start. */
  readonly replayStarts: (id: string) => void;
  /** The server's answer with the task's state, and the time of the request. */
  readonly answered: (answer: unknown, askedAt: number) => void;
  readonly gone: (id: string) => void;
}

const RETRY_MS = 2_000;

/** Controls which tasks the server sends on this tab's stream. */
export function createFollower(tasks: FollowedTasks): TaskFollower {
  let session: string | undefined;
  const followed = new Set<string>();
  const following = new Set<string>();
  const leaving = new Map<string, Promise<unknown>>();

  function route(sessionId: string, taskId: string): string {
    return `/api/streams/${encodeURIComponent(sessionId)}/tasks/${encodeURIComponent(taskId)}`;
  }

  async function add(id: string, sessionId: string): Promise<void> {
    const isCurrent = (): boolean => session === sessionId;
    while (isCurrent() && tasks.isWanted(id)) {
      await leaving.get(id);
      const askedAt = performance.now();
      tasks.replayStarts(id);
      try {
        const answer = await call("PUT", route(sessionId, id));
        if (!isCurrent()) return;
        followed.add(id);
        tasks.answered(answer, askedAt);
        // The task's last event can arrive before this answer.
        if (!tasks.isWanted(id)) unfollow(id);
        return;
      } catch (error) {
        if (!isCurrent()) return;
        if (error instanceof ApiError && error.status === 404) return tasks.gone(id);
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  function unfollow(id: string): void {
    if (session === undefined || !followed.delete(id)) return;
    // Only a later follow() waits for this. If the request fails, the channel is removed with the session.
    const left = call("DELETE", route(session, id)).catch(() => undefined);
    leaving.set(id, left);
    void left.then(() => leaving.get(id) === left && leaving.delete(id));
  }

  return {
    async follow(id) {
      if (session === undefined || followed.has(id) || following.has(id)) return;
      following.add(id);
      await add(id, session);
      following.delete(id);
    },
    unfollow,
    session(id) {
      session = id;
      followed.clear();
      following.clear();
      leaving.clear();
    },
  };
}
