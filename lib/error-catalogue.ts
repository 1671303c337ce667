/** The code of an error. Each is stable between releases. */
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
  | "UNAUTHORIZED"
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
  /** What has happened. */
  readonly meaning: string;
  /** What to do about the error. */
  readonly action: string;
  /** The HTTP status of the refused stream, if the refusal is final: an EventSource does not reconnect. */
  readonly status?: number;
  /** Whether the same call may succeed later, without a change of the call, the configuration or the service. */
  readonly retryable: boolean;
}

/** Every error code. Mistakes of the application come first. */
export const errorCatalogue: Readonly<Record<ErrorCode, ErrorDescription>> = {
  CONFIG: {
    meaning: "An option or an argument is wrong. The message names it. Nothing was done.",
    action: "Correct the option that the message names.",
    status: 500,
    retryable: false,
  },
  INVALID_CHANNEL: {
    meaning: "The text is not a channel name: it is empty, too long, or has control characters.",
    action: "Check the name before you pass it on.",
    status: 400,
    retryable: false,
  },
  INVALID_EVENT: {
    meaning: "The event cannot be sent: its name is reserved or has line breaks, or it has unknown fields.",
    action: "Publish `{ event?, data }`, with an event name that is not reserved.",
    retryable: false,
  },
  INVALID_TASK: {
    meaning: "The task, its id, its kind or its payload is not valid. The message says what was expected.",
    action: "Correct the task.",
    status: 400,
    retryable: false,
  },
  INVALID_NOTIFICATION: {
    meaning: "The notification is not valid. The message says what was expected.",
    action: "Correct the notification.",
    retryable: false,
  },
  UNSERIALIZABLE: {
    meaning: "JSON cannot express the value: it has a cycle, a BigInt or a function, or it is `undefined`.",
    action: "Pass a value that `JSON.stringify()` accepts.",
    retryable: false,
  },
  EVENT_TOO_LARGE: {
    meaning: "The event is larger than `limits.maxEventBytes`, or its name is longer than 256 bytes.",
    action: "Send less data, or a link to it, or raise the limit in all processes.",
    retryable: false,
  },
  TASK_TOO_LARGE: {
    meaning: "The payload, the result or the output of a task is larger than its limit.",
    action: "Store the data elsewhere, and pass a link to it.",
    retryable: false,
  },
  UNKNOWN_TASK: {
    meaning: "No task has this id.",
    action: "Check the id. A finished task is deleted after some time.",
    status: 404,
    retryable: false,
  },
  TASK_EXISTS: {
    meaning: "A task with this id already exists. An id belongs to one task of all queues.",
    action:
      "If the id is your idempotency key, the task is there: read it with `get()`. Else use another id, or the option `deduplicate`.",
    retryable: false,
  },
  TASK_RUNNING: {
    meaning: "A worker is running the task, or tasks of the queue.",
    action: "Cancel the task, or stop the workers, and call again.",
    retryable: true,
  },
  PAYLOAD_RELEASED: {
    meaning: "The task cannot run again: its payload was deleted when it ended.",
    action: "Enqueue a new task.",
    retryable: false,
  },
  QUEUE_UNREADABLE: {
    meaning: "Another program has written one of the queue's keys in Redis. Nothing was changed.",
    action: "Rename or delete the key that the message describes.",
    retryable: false,
  },
  CANCELLED: {
    meaning: "The task was cancelled. A handler gets it as the reason of its `signal`.",
    action: "Stop the work of this attempt.",
    retryable: false,
  },
  LEASE_LOST: {
    meaning: "The worker could not renew the lease of the task in time, and another worker may run it.",
    action: "Stop the work of this attempt. Run CPU work in a worker thread.",
    retryable: false,
  },
  FORBIDDEN: {
    meaning: "The resolver returned no channel, or the channel begins with the service's `keyPrefix`.",
    action: "Return the channels that this user may read.",
    status: 403,
    retryable: false,
  },
  UNAUTHORIZED: {
    meaning: "The request has no valid bearer token.",
    action: "Send the header `Authorization: Bearer <token>`.",
    status: 401,
    retryable: false,
  },
  NOT_ACCEPTABLE: {
    meaning: "The request's `Accept` header excludes `text/event-stream`.",
    action: "Send `Accept: text/event-stream`, or no such header.",
    status: 406,
    retryable: false,
  },
  COMPLETED: {
    meaning:
      "The channel was completed: the client has received all of it, or you cannot publish on it any more.",
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
    action: "Turn history on for this channel with the option `history.channels`.",
    retryable: false,
  },
  WRITER_OVERFLOW: {
    meaning: "`write()` was called repeatedly without `await`, and too much data waits to be sent.",
    action: "Await each `write()`.",
    retryable: false,
  },
  STREAM_TOO_LONG: {
    meaning:
      "The writer has written `limits.maxReplayEvents` events, the most that a reader may get at once.",
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
    meaning: "The connection carries other requests besides the stream (HTTP/1.1 pipelining).",
    action: "Send one request at a time on the connection of a stream.",
    status: 503,
    retryable: false,
  },
  HEADERS_SENT: {
    meaning: "The head of the response was sent before the stream could begin.",
    action: "Mount the stream before the middleware that sends the head.",
    retryable: false,
  },
  RESOLVER_TIMEOUT: {
    meaning: "The resolver did not answer within `limits.resolverTimeoutMs`.",
    action: "Find out why the resolver is slow. The client reconnects by itself.",
    retryable: true,
  },
  LIMIT_CHANNELS: {
    meaning: "The stream would have more channels than `limits.maxChannelsPerSession`.",
    action: "Ask for fewer channels, or use a channel that several topics share.",
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
    meaning: "No connection of the pool became free within `pool.acquireTimeoutMs`.",
    action: 'Raise `pool.maxConnections`, or share connections (`subscriptions: "shared"`).',
    retryable: true,
  },
  SUBSCRIBE_REFUSED: {
    meaning: "The ACL of the Redis user does not allow the channel.",
    action: "Allow the channel in the ACL of the user (`&pattern`).",
    retryable: false,
  },
  TIMEOUT: {
    meaning: "Redis, or a task, did not finish within its deadline. The command may have taken effect.",
    action: "Try again. Publishing again can send an event twice.",
    retryable: true,
  },
  CLOSED: {
    meaning: "The service, the worker or the stream is closed, or is closing.",
    action: "Nothing in this process. A client reconnects to another process.",
    retryable: false,
  },
  ABORTED: {
    meaning: "The caller aborted the call: the client left, the channel was removed, or a signal fired.",
    action: "Nothing.",
    retryable: false,
  },
  REDIS_AUTH: {
    meaning: "Redis refused the user name or the password.",
    action: "Correct the credentials.",
    retryable: false,
  },
  REDIS_REFUSED: {
    meaning:
      "Redis refused the command. The message ends with Redis' own code, such as `OOM`, `READONLY` or `NOPERM`.",
    action: "`OOM`: give Redis more memory. `NOPERM`: give the Redis user the right (docs/scaling.md).",
    retryable: false,
  },
  REDIS_UNAVAILABLE: {
    meaning: "Redis cannot be reached, or does not serve the key now.",
    action:
      "The library reconnects by itself, and so does the client of a stream. Repeat your own call later; `publish()` can then send an event twice.",
    retryable: true,
  },
  MOCK_MISSING: {
    meaning: "`createTestSse()` of `redis-sse/testing` did not find the package `ioredis-mock`.",
    action: "Install it: `npm install --save-dev ioredis-mock`.",
    retryable: false,
  },
  NOT_RECEIVED: {
    meaning:
      "A test waited for an event, or for the end of a stream, with `collect()` of `redis-sse/testing`. It did not arrive in time.",
    action: "Read the message: it says what arrived. Its text holds data of your app.",
    retryable: false,
  },
  INTERNAL: {
    meaning: "An unexpected error. The message does not contain its text, because the text may hold secrets.",
    action: "Set `DEBUG=redis-sse:*`, and report the error.",
    retryable: false,
  },
};
