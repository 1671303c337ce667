import type { RedisSseOptions, StatusReport } from "../../lib/index.js";

/** What the app is asked over IPC, and what it answers. */
export interface AppAnswers {
  /** What it holds, without a question to Redis. */
  look: AppLook;
  status: StatusReport;
  /** Bytes in use after garbage was collected. */
  heap: number;
  /** Does nothing else for so many milliseconds. */
  block: null;
  /** Closes the service and the server. The process has nothing to live for after that. */
  close: null;
}

export interface AppLook {
  /** Sockets to Redis that are not destroyed, and the most there ever were at once. */
  readonly redisSockets: number;
  readonly mostRedisSockets: number;
  readonly inUse: number;
  readonly resources: Readonly<Record<string, number>>;
}

export type Question = keyof AppAnswers;

/** Parent to child. */
export interface AppRequest {
  readonly id: number;
  readonly question: Question;
  /** For `block`. */
  readonly milliseconds?: number;
}

/** Child to parent. */
export type AppMessage =
  | { readonly listening: number }
  /** What must never happen in a process: a warning of too many listeners, or an error that nobody caught. */
  | { readonly trouble: string }
  | { readonly id: number; readonly answer: AppAnswers[Question] };

/** The options of the service, as they can be handed to a process. */
export type AppOptions = Omit<RedisSseOptions, "clock"> & { readonly redis: string };
