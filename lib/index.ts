/**
 * `redis-sse`: the functions and types for applications. Adapters for web frameworks also import `redis-sse/adapter`.
 *
 * @module redis-sse
 */

export { createRedisSse } from "./service.js";
export type { RedisSse } from "./redis-sse.js";
export type { PublishOptions, PublishReceipt } from "./publisher.js";
export type { DrainOptions } from "./sessions/drain.js";
export type { RevocationTarget, RevokeOptions } from "./rights/revocation.js";
export type { RevocationStatistics } from "./rights/new-stream-check.js";
export type { LimitOptions, RedisSseOptions } from "./options.js";
export type { Clock } from "./clock.js";
export { ConfigError, PoolExhaustedError, RedisSseError } from "./errors.js";
export { errorCatalogue } from "./catalogue/error-catalogue.js";
export type { ErrorCode, ErrorDescription } from "./catalogue/error-catalogue.js";
export type { DiagnosticEvents } from "./catalogue/diagnostics.js";
export { closeReasonCatalogue } from "./catalogue/close-reasons.js";
export type { CloseReason, CloseReasonDescription } from "./catalogue/close-reasons.js";

export { PubSubSession } from "./sessions/session.js";
export type { SessionStatistics } from "./sessions/session-context.js";
export type { RegistryStatistics } from "./sessions/session-registry.js";
export type { SessionState } from "./sessions/session-state.js";
export type { SessionKey } from "./sessions/sink.js";
export type { AccessAnswer, StreamAccess } from "./sessions/stream-access.js";
export type { ResumeAge, ResumePolicy } from "./sessions/resume-policy.js";
export type { RevalidationOptions } from "./sessions/revalidation.js";
export type { HubStatistics } from "./subscriptions/subscription-hub.js";
export type { GapReason } from "./events/gap.js";
export type { StreamEvent } from "./events/inbound-event.js";
export type { ChannelSelection } from "./events/channel-name.js";
export type { OutboundMessage } from "./events/outbound-message.js";
export type { SlowConsumerPolicy } from "./backpressure/slow-consumer-policy.js";
export type { OnLimit } from "./sse/http-answer.js";
export type { RuleName } from "./sync-callback.js";

export type { HistoryBounds, HistoryOptions } from "./history/history-policy.js";
export type { StreamWriter, WriterMessage, WriterOptions } from "./history/stream-writer.js";
export type {
  ConnectionPool,
  LeaseRequest,
  LeaseStatistics,
  PoolStatistics,
} from "./redis/connection-pool.js";
export type { Lease } from "./redis/connection-pool.js";
export type { ConnectionRole, RedisClient } from "./redis/client.js";
export type { RedisSource } from "./redis/connection-factory.js";
export type { Logger, LogValue, ServiceLog } from "./logger.js";
export { NotificationService } from "./notifications/notification-service.js";
export type {
  ListNotificationsOptions,
  NewNotification,
  Notification,
  NotificationStatistics,
} from "./notifications/notification-service.js";

export type { TicketAccessOptions, TicketOptions, TicketService } from "./tickets/ticket-service.js";

export { QueueService } from "./queue/queue-service.js";
export type { ScheduleOptions } from "./queue/queue-service.js";
export { progressChannel, TaskFailure } from "./queue/task.js";
export type { ProgressReport, Task, TaskEventType, TaskProgress, TaskStatus } from "./queue/task.js";
export type { TaskEntry } from "./queue/task-validator.js";
export type { QueueOptions, QueueOptionsWith, ResultOptions } from "./queue/queue-options.js";
export type { EnqueueOptions } from "./queue/enqueue-options.js";
export type { Backoff } from "./queue/backoff.js";
export type { QueueCounts, QueueStatistics } from "./queue/queue-statistics.js";
export type { TaskSnapshot } from "./queue/queues.js";
export type {
  AnyTasks,
  InputsOf,
  KindOf,
  OutputsOf,
  SchemaMap,
  TaskMap,
  TaskOf,
  TaskSchemas,
} from "./queue/task-map.js";
export type { DeadLetters } from "./queue/dead-letters.js";
export type { CleanOptions, DeadLetter, ListOptions, TaskPage, UnreadableTask } from "./queue/task-list.js";
export type { MissedTimes, Schedule, ScheduleTimes } from "./queue/schedules.js";
export type { TaskContext } from "./queue/worker/task-context.js";
export type { TaskHandler, TaskHandlers } from "./queue/worker/task-handlers.js";
export type { Worker } from "./queue/worker/worker.js";
export type { StopOptions, WorkerOptions } from "./queue/worker/worker-options.js";

export type { Count, DriftReport } from "./status/connection-audit.js";
export type { NodeStatus, ServerInfo } from "./status/nodes.js";
export type {
  BufferStatistics,
  HistoryStatistics,
  QueueStatus,
  RuleStatistics,
  StatusOptions,
  StatusReport,
} from "./status/status-report.js";
