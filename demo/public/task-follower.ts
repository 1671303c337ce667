import { ApiError, call } from "./api.js";

export interface TaskFollower {
  /** Has the server add the task to this tab's stream, which then tells it from its beginning. */
  readonly follow: (id: string) => Promise<void>;
  readonly unfollow: (id: string) => void;
  /** A new session, which follows nothing yet; undefined while there is none. */
  readonly session: (id: string | undefined) => void;
}

export interface FollowedTasks {
  readonly isWanted: (id: string) => boolean;
  /** The task is about to be told from its beginning. */
  readonly begins: (id: string) => void;
  /** The server's word of how it stands, to a request that was sent at that time. */
  readonly answered: (answer: unknown, askedAt: number) => void;
  readonly gone: (id: string) => void;
}

const RETRY_MS = 2_000;

/** Which tasks the server sends to this tab's one stream. */
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
      tasks.begins(id);
      try {
        const answer = await call("PUT", route(sessionId, id));
        if (!isCurrent()) return;
        followed.add(id);
        tasks.answered(answer, askedAt);
        // The answer and the task's last event race each other: the event may have come first.
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
    // Nothing depends on it but a later follow(): the channel goes with the session in any case.
    const left = call("DELETE", route(session, id)).catch(() => undefined);
    leaving.set(id, left);
    void left.then(() => leaving.get(id) === left && leaving.delete(id));
  }

  return {
    async follow(id) {
      if (session === undefined || followed.has(id) || following.has(id)) return;
      const begunIn = following;
      begunIn.add(id);
      await add(id, session);
      begunIn.delete(id);
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
