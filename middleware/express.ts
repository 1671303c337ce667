/**
 * `redis-sse/express`: event streams as middleware for Express 4.18 and 5.
 *
 * To write an adapter for another framework, read `docs/adapters.md`.
 *
 * @module redis-sse/express
 */

export { bearerAuth } from "./bearer-auth.js";
export { defaultService } from "./default-service.js";
export { redisPoolStatus } from "./redis-pool-status.js";
export type { PoolReport } from "./pool-report.js";
export type { RedisPoolStatusOptions } from "./redis-pool-status.js";
export type { OnStreamError, RuleErrorContext } from "./rule-errors.js";
export { sseStream } from "./sse-stream.js";
export type { TaskAccess, TaskResolver, TaskSelection } from "./task-access.js";
export { taskCancel } from "./task-cancel.js";
export type { TaskCancelOptions } from "./task-cancel.js";
export { taskStream } from "./task-stream.js";
export type { TaskStreamOptions } from "./task-stream.js";
export { ticketResolver } from "./ticket-resolver.js";
export type { TicketResolverOptions } from "./ticket-resolver.js";
export type { ChannelResolver, RouteParams, SseStreamOptions, StreamRevalidation } from "./stream-options.js";
