import type { RedisSseError } from "./errors.js";
import type { ChannelSelection } from "./events/channel-name.js";
import type { OutboundMessage } from "./events/outbound-message.js";
import type { StreamWriter, WriterOptions } from "./history/stream-writer.js";
import type { ServiceLog } from "./logger.js";
import type { NotificationService } from "./notifications/notification-service.js";
import type { PublishOptions, PublishReceipt } from "./publisher.js";
import type { QueueOptions, QueueOptionsWith } from "./queue/queue-options.js";
import type { QueueService } from "./queue/queue-service.js";
import type { TaskSnapshot } from "./queue/queues.js";
import type { AnyTasks, InputsOf, OutputsOf, SchemaMap, TaskMap } from "./queue/task-map.js";
import type { ConnectionPool } from "./redis/connection-pool.js";
import type { RevocationTarget, RevokeOptions } from "./rights/revocation.js";
import type { DrainOptions } from "./sessions/drain.js";
import type { PubSubSession } from "./sessions/session.js";
import type { Sink, StreamRequest } from "./sessions/sink.js";
import type { AccessAnswer } from "./sessions/stream-access.js";
import type { StatusOptions, StatusReport } from "./status/status-report.js";
import type { TicketService } from "./tickets/ticket-service.js";

/** Event streams, notifications and tasks over one Redis. `createRedisSse()` creates it. */
export interface RedisSse {
  /**
   * Publishes one event to every stream of a channel, in all processes.
   *
   * If the connection breaks before Redis acknowledges the event, the service sends it again. On a channel with history it
   * takes effect once. On a channel without history it may arrive twice.
   *
   * Rejects with `INVALID_CHANNEL`, `INVALID_EVENT`, `UNSERIALIZABLE`, `EVENT_TOO_LARGE`, `COMPLETED`, `CHANNEL_TAKEN`,
   * `CLOSED` or an error of Redis.
   */
  publish(channel: string, message: OutboundMessage, options?: PublishOptions): Promise<PublishReceipt>;
  /**
   * Returns the id of the newest event of these channels. Call it before you read the state of a page, and open the stream
   * of the page with `?lastEventId=`. `null` if none of the channels has history.
   *
   * Rejects like `publish()`, and with `LIMIT_CHANNELS`.
   */
  lastEventId(channels: ChannelSelection): Promise<string | null>;
  /**
   * Completes a channel, after an optional last event. Its streams end with `completed`. Later clients get the channel from
   * its first event that is kept, and then the end.
   *
   * Rejects like `publish()`, and with `NO_HISTORY` if the channel has no history.
   */
  complete(channel: string, message?: OutboundMessage): Promise<PublishReceipt>;
  /**
   * Creates a writer that writes text to a channel chunk by chunk, for example the tokens of a language model. Only this
   * writer can write to the channel until it ends.
   *
   * Rejects with `CHANNEL_TAKEN` if the channel has another writer, and with `COMPLETED`, `NO_HISTORY`, `INVALID_CHANNEL`,
   * `ABORTED`, `CONFIG` or an error of Redis.
   */
  writer(channel: string, options?: WriterOptions): Promise<StreamWriter>;
  /**
   * Opens a stream on a sink, for an adapter. `answer` is the answer of a resolver.
   *
   * If the stream is refused, the sink gets the answer, everything is released, and the promise rejects with the error. If
   * an event of `first` is invalid, the promise rejects before anything is subscribed, and the sink gets no answer. If the
   * client leaves before the stream is open, the promise resolves, and the state of the session is `closing`.
   */
  open(request: StreamRequest, sink: Sink, answer: AccessAnswer): Promise<PubSubSession>;
  /**
   * Runs an application's resolver, for an adapter, with the deadline `limits.resolverTimeoutMs`.
   *
   * Resolves to `{ value }` if the resolver answers in time. Resolves to `null` if the deadline passes, the client leaves,
   * or the service drains or closes. Then the client has its answer, and a later answer or error of the resolver is
   * ignored. The same applies if the resolver fails in time with a `retryable` error of this library, or with
   * `TICKET_INVALID`. Rejects with any other error of the resolver.
   */
  resolve<T>(
    request: Omit<StreamRequest, "key" | "revalidate">,
    sink: Sink,
    resolver: () => T | PromiseLike<T>,
  ): Promise<{
    /** The answer of the resolver. */
    readonly value: T;
  } | null>;
  /**
   * Returns the error with which this process refuses every new stream now, or `null`, for a readiness probe: `CLOSED` if the service
   * drains or is closed, and `LIMIT_SESSIONS` if `limits.maxSessions` is reached. It does not ask Redis.
   *
   * @example app.get("/ready", (req, res) => res.sendStatus(sse.check() === null ? 200 : 503));
   */
  check(): RedisSseError | null;
  /** Returns the error that `open()` would refuse this stream with now, or `null`. */
  check(request: StreamRequest, answer: AccessAnswer): RedisSseError | null;
  /**
   * Ends the matching streams in all processes, for example when a user logs out. Resolves to the number of ended streams.
   *
   * The streams end with reason `revoked`. Their clients reconnect, and the resolver runs again. So first change the data that
   * the resolver checks, then call `revoke()`. With `forMs`, new streams of the key are also refused with 403 `REVOKED`.
   *
   * - A process that is connected to Redis ends its streams within one second. A disconnected process ends them when it is
   *   connected again. For this purpose, Redis keeps each revocation for at least 24 hours.
   * - In general, streams that opened after the call stay open. With `forMs`, they end too.
   * - Tickets of the key or channel that were issued before the call become invalid. Their clients are answered 401
   *   (`TICKET_INVALID`). Tickets that are issued after the call are valid.
   * - The number is the sum of the answers that arrive within one second. Processes that do not answer are not counted. On a Redis
   *   Cluster, the call always takes one second, because the number of processes is not known.
   * - If there are more than about 10,000 revocations, Redis removes the oldest ones. Their `forMs` then ends early.
   *
   * Rejects with `ConfigError` if an argument is invalid, with `INVALID_CHANNEL` or `FORBIDDEN` for the channel, with `CLOSED`, or
   * with a Redis error. After a Redis error, call it again: the revocation is probably not stored, and no stream has ended.
   *
   * @example await sse.revoke({ key: userId })
   */
  revoke(target: RevocationTarget, options?: RevokeOptions): Promise<number>;
  /** Writes to the option `logger`, for adapters. */
  readonly log: ServiceLog;
  /** The Redis connections of this service, for leases of your own. */
  readonly pool: ConnectionPool;
  /** Notifications that are stored for each user, and streamed to open pages. */
  readonly notifications: NotificationService;
  /** Tickets that open streams for clients that cannot send a header. */
  readonly tickets: TicketService;
  /**
   * Returns the queue with this name: 1 to 64 characters of A-Z a-z 0-9 _ . -. Each call with the same name returns the same
   * object. `schemas` validate the payload of each kind of task and give its type.
   *
   * Throws `ConfigError` if an option is invalid or differs from an earlier call, and `CLOSED`.
   */
  queue<Schemas extends SchemaMap>(
    name: string,
    options: QueueOptionsWith<Schemas>,
  ): QueueService<OutputsOf<Schemas>, InputsOf<Schemas>>;
  /**
   * Returns the queue with this name. `Tasks` gives the type of the payload of each kind of task.
   *
   * @example sse.queue<{ resize: { file: string } }>("media")
   * @defaultValue the name `"default"`, with any kind and any payload
   */
  queue<Tasks extends TaskMap = AnyTasks>(name?: string, options?: QueueOptions<Tasks>): QueueService<Tasks>;
  /**
   * Returns the current state of a task of any queue, and the number of events that its channel had at that time. `null` if
   * no task has this id.
   *
   * Rejects with `INVALID_TASK` or an error of Redis.
   */
  task(id: string): Promise<TaskSnapshot | null>;
  /**
   * Returns the state of the service and of its Redis. If Redis is unavailable, the promise still resolves. Calls at the same
   * time share one check for drift.
   */
  status(options?: StatusOptions): Promise<StatusReport>;
  /**
   * Refuses new streams and ends the open ones, spread over time. Publishing, queues and workers continue.
   *
   * Rejects with `ConfigError` if an option is invalid, and with nothing else.
   */
  drain(options?: DrainOptions): Promise<void>;
  /** Ends streams, workers and connections, in this order. Then the process can exit. Never rejects. */
  close(): Promise<void>;
  /** Calls `close()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}
