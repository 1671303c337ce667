/**
 * `redis-sse/react`: hooks for React 18 and later, on `redis-sse/client`.
 *
 * A hook opens its stream after the component is mounted, and closes it when the component is unmounted. A component renders at
 * most once in each animation frame, however many events arrive. On the server, a hook opens nothing.
 *
 * @module redis-sse/react
 */
"use client";

export type { TaskStatus } from "./task-state.js";
export type { StreamFollowOptions } from "./stream-options.js";
export { useStream } from "./use-stream.js";
export type { StreamHandlers, StreamResult, UseStreamOptions } from "./use-stream.js";
export { useTask } from "./use-task.js";
export type { TaskResult, UseTaskOptions } from "./use-task.js";
export { useTextStream } from "./use-text-stream.js";
export type { TextStreamResult } from "./use-text-stream.js";
