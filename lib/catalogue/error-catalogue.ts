/** The code of an error. Codes are stable between releases. */
export type ErrorCode =
  | "CONFIG"
  | "INVALID_CHANNEL"
  | "INVALID_EVENT"
  | "INVALID_TASK"
  | "INVALID_NOTIFICATION"
  | "UNSERIALIZABLE"
  | "EVENT_TOO_LARGE"
  | "TASK_TOO_LARGE"
  | "UNKNOWN_TASK"
  | "TASK_EXISTS"
  | "TASK_RUNNING"
  | "PAYLOAD_RELEASED"
  | "QUEUE_UNREADABLE"
  | "CANCELLED"
  | "LEASE_LOST"
  | "FORBIDDEN"
  | "REVOKED"
  | "CROSS_SITE"
  | "UNAUTHORIZED"
  | "TICKET_INVALID"
  | "NOT_ACCEPTABLE"
  | "COMPLETED"
  | "CHANNEL_TAKEN"
  | "NO_HISTORY"
  | "WRITER_OVERFLOW"
  | "STREAM_TOO_LONG"
  | "STREAM_LOST"
  | "METHOD_NOT_ALLOWED"
  | "NO_SOCKET"
  | "HEADERS_SENT"
  | "RESOLVER_TIMEOUT"
  | "LIMIT_CHANNELS"
  | "LIMIT_SESSIONS"
  | "LIMIT_SESSIONS_PER_KEY"
  | "POOL_EXHAUSTED"
  | "SUBSCRIBE_REFUSED"
  | "TIMEOUT"
  | "CLOSED"
  | "ABORTED"
  | "REDIS_AUTH"
  | "REDIS_REFUSED"
  | "REDIS_UNAVAILABLE"
  | "MOCK_MISSING"
  | "NOT_RECEIVED"
  | "INTERNAL";

/** Describes an error code. `npm run docs` writes `docs/errors.md` from it. */
export interface ErrorDescription {
  /** The cause of the error. */
  readonly meaning: string;
  /** What to do about the error. */
  readonly action: string;
  /** The HTTP status of the refused stream, if the refusal is final: an EventSource does not reconnect. */
  readonly status?: number;
  /** Whether the same call may succeed later, without a change of the call, the configuration or the service. */
  readonly retryable: boolean;
}

/** Describes every error code. Mistakes of the application come first. */
export const errorCatalogue: Readonly<Record<ErrorCode, ErrorDescription>> = {
  CONFIG: {
    meaning: "An option or an argument is invalid. The message names it. The call had no effect.",
    action: "Correct the option that the message names.",
    status: 500,
    retryable: false,
  },
  INVALID_CHANNEL: {
    meaning: "The channel name is invalid: it is not a string, empty, too long, or has control characters.",
    action: "Check the name before you use it.",
    status: 400,
    retryable: false,
  },
  INVALID_EVENT: {
    meaning: "The event is invalid: its name is reserved or has line breaks, or it has unknown fields.",
    action: "Publish `{ event?, data }`, with an event name that is not reserved.",
    retryable: false,
  },
  INVALID_TASK: {
    meaning: "The task, its id, its kind or its payload is invalid. The message gives the details.",
    action: "Correct the task.",
    status: 400,
    retryable: false,
  },
  INVALID_NOTIFICATION: {
    meaning: "The notification is invalid. The message gives the details.",
    action: "Correct the notification.",
    retryable: false,
  },
  UNSERIALIZABLE: {
    meaning:
      "The value cannot be converted to JSON: it has a cycle or a BigInt, or it is `undefined` or a function.",
    action: "Pass a value that `JSON.stringify()` accepts.",
    retryable: false,
  },
  EVENT_TOO_LARGE: {
    meaning: "The event is larger than `limits.maxEventBytes`, or its name is longer than 256 bytes.",
    action: "Send less data, send a link to the data, or raise the limit in all processes.",
    retryable: false,
  },
  TASK_TOO_LARGE: {
    meaning: "The payload, the result or the output of a task is larger than its limit.",
    action: "Store the data elsewhere, and put a link to it into the task.",
    retryable: false,
  },
  UNKNOWN_TASK: {
    meaning: "No task has this id.",
    action: "Check the id. A finished task is deleted after some time.",
    status: 404,
    retryable: false,
  },
  TASK_EXISTS: {
    meaning: "A task with this id already exists. Ids are unique across all queues.",
    action:
      "If the id is your idempotency key, read the existing task with `get()`. Otherwise use another id, or the option `deduplicate`.",
    retryable: false,
  },
  TASK_RUNNING: {
    meaning: "A worker is running the task, or another task of the queue.",
    action: "Cancel the task or stop the workers, and try again.",
    retryable: true,
  },
  PAYLOAD_RELEASED: {
    meaning: "The task cannot run again: its payload was deleted when it ended.",
    action: "Enqueue a new task.",
    retryable: false,
  },
  QUEUE_UNREADABLE: {
    meaning: "Another program has overwritten a Redis key of the queue. The call changed nothing.",
    action: "Rename or delete the key that the message describes.",
    retryable: false,
  },
  CANCELLED: {
    meaning: "The task was cancelled. A handler gets this error as the reason of its `signal`.",
    action: "Stop the work of this attempt.",
    retryable: false,
  },
  LEASE_LOST: {
    meaning: "The lease of the task expired, or another worker has it. Another worker may run the task.",
    action: "Stop the work of this attempt. Run CPU work in a worker thread.",
    retryable: false,
  },
  FORBIDDEN: {
    meaning:
      "The resolver returned no channel, or a channel that clients must not read: a keyspace event, or a name that starts with `keyPrefix`.",
    action: "Return the channels that this user can read.",
    status: 403,
    retryable: false,
  },
  REVOKED: {
    meaning: "`revoke()` was called with `forMs` for the key of this request, and this time has not passed.",
    action: "Let the user sign in again after this time.",
    status: 403,
    retryable: false,
  },
  CROSS_SITE: {
    meaning:
      "A page of another site sent the request with the cookies of the user, and the mount does not allow its origin.",
    action: "If the page is yours, add its origin to the option `allowOrigins`.",
    status: 403,
    retryable: false,
  },
  UNAUTHORIZED: {
    meaning:
      "The request has no valid bearer token (status endpoint), or the right to the stream has expired (`expiresAt`).",
    action: "Send a valid token in `Authorization: Bearer <token>`. Or log in again, and open a new stream.",
    status: 401,
    retryable: false,
  },
  TICKET_INVALID: {
    meaning:
      "The ticket of the stream is missing, malformed, unknown, expired or revoked, or another client has used it.",
    action: "Get a new ticket, and open a new stream with it.",
    status: 401,
    retryable: false,
  },
  NOT_ACCEPTABLE: {
    meaning: "The `Accept` header of the request excludes `text/event-stream`.",
    action: "Send `Accept: text/event-stream`, or no `Accept` header.",
    status: 406,
    retryable: false,
  },
  COMPLETED: {
    meaning:
      "The channel was completed. A client has received all its events. A publisher cannot publish on it any more.",
    action: "Do not reconnect. Publish on another channel.",
    status: 204,
    retryable: false,
  },
  CHANNEL_TAKEN: {
    meaning: "A writer has exclusive use of the channel.",
    action: "Use another channel.",
    retryable: false,
  },
  NO_HISTORY: {
    meaning: "The call needs a channel with history, and this channel has none.",
    action: "Enable the history of this channel with the option `history`.",
    retryable: false,
  },
  WRITER_OVERFLOW: {
    meaning: "Too much data of this writer is buffered, because `write()` was called without `await`.",
    action: "Await each `write()`.",
    retryable: false,
  },
  STREAM_TOO_LONG: {
    meaning:
      "The writer has reached `limits.maxReplayEvents`, the number of events that a client can get by replay.",
    action: "Raise `limits.maxReplayEvents`, or write larger chunks.",
    retryable: false,
  },
  STREAM_LOST: {
    meaning: "Redis lost a part of the writer's stream in a restart or a failover.",
    action: "Start again with a new writer on another channel.",
    retryable: false,
  },
  METHOD_NOT_ALLOWED: {
    meaning: "The stream does not accept the request's HTTP method.",
    action: "Use GET, or name the method in the option `methods`.",
    status: 405,
    retryable: false,
  },
  NO_SOCKET: {
    meaning: "Another request on the same connection has no complete response yet (HTTP/1.1 pipelining).",
    action: "Send no other request on the connection of a stream.",
    status: 503,
    retryable: false,
  },
  HEADERS_SENT: {
    meaning: "The head of the response was sent before the stream could start.",
    action:
      "Mount the stream before the middleware that sends the head. Do not write to the response in the resolver.",
    retryable: false,
  },
  RESOLVER_TIMEOUT: {
    meaning: "The resolver or `key` did not finish within `limits.resolverTimeoutMs`.",
    action: "Make the resolver faster, or raise the limit. The client reconnects by itself.",
    retryable: true,
  },
  LIMIT_CHANNELS: {
    meaning: "The stream would have more channels than `limits.maxChannelsPerSession`.",
    action: "Use fewer channels, or one channel for several topics.",
    status: 400,
    retryable: false,
  },
  LIMIT_SESSIONS: {
    meaning: "The process already has `limits.maxSessions` open streams.",
    action: "Start more processes, or raise the limit. The client reconnects by itself.",
    retryable: true,
  },
  LIMIT_SESSIONS_PER_KEY: {
    meaning: "The key, for example a user, already has `limits.maxSessionsPerKey` open streams.",
    action: "Close a stream of this key, or set `onLimit`.",
    retryable: true,
  },
  POOL_EXHAUSTED: {
    meaning:
      "All connections of the pool are leased. None became free within `pool.acquireTimeoutMs`, or too many requests wait.",
    action: 'Raise `pool.maxConnections`, or use one shared connection (`subscriptions: "shared"`).',
    retryable: true,
  },
  SUBSCRIBE_REFUSED: {
    meaning: "A Redis ACL rule denied the channel.",
    action: "Allow the channel in the ACL rules of the Redis user (`&pattern`).",
    retryable: false,
  },
  TIMEOUT: {
    meaning: "Redis or a task did not finish before the deadline. The command may have taken effect.",
    action: "Try again. If you publish an event again, clients can get it twice.",
    retryable: true,
  },
  CLOSED: {
    meaning: "The service, the worker or the stream is closed, or is closing.",
    action: "Use another process. Clients reconnect by themselves.",
    retryable: false,
  },
  ABORTED: {
    meaning: "The call was aborted: the client left, the channel was removed, or a signal was aborted.",
    action: "No action is needed.",
    retryable: false,
  },
  REDIS_AUTH: {
    meaning: "Redis refused the user name or the password.",
    action: "Correct the credentials.",
    retryable: false,
  },
  REDIS_REFUSED: {
    meaning:
      "Redis refused the command. The message ends with the code from Redis, such as `OOM`, `READONLY` or `NOPERM`.",
    action:
      "`OOM`: give Redis more memory. `NOPERM`: allow the command in the ACL rules of the Redis user (docs/scaling.md).",
    retryable: false,
  },
  REDIS_UNAVAILABLE: {
    meaning: "Redis is unavailable: it cannot be reached, or the Redis Cluster does not serve the key now.",
    action:
      "Try your own call again later. If you publish an event again, clients can get it twice. The service and the clients reconnect by themselves.",
    retryable: true,
  },
  MOCK_MISSING: {
    meaning: "`createTestSse()` of `redis-sse/testing` did not find the package `ioredis-mock`.",
    action: "Install it: `npm install --save-dev ioredis-mock`.",
    retryable: false,
  },
  NOT_RECEIVED: {
    meaning: "An event or the end of a stream did not arrive in time at `collect()` of `redis-sse/testing`.",
    action: "Read in the message what arrived. The message contains data of your application.",
    retryable: false,
  },
  INTERNAL: {
    meaning: "An unexpected error. The message omits the original text, because it may contain secrets.",
    action: "Set `DEBUG=redis-sse:*`, and report the error.",
    retryable: false,
  },
};
