import { randomUUID } from "node:crypto";

import type { Clock } from "../clock.js";
import { RedisSseError, sanitize } from "../errors.js";
import type { ServiceLog } from "../logger.js";
import type { RedisClient } from "../redis/client.js";
import { defineScript } from "../redis/script.js";
import { assertOptions, describe, nameOf, readWholeNumber } from "../validate.js";
import { encodeJson, isLargerThan } from "../serialize.js";
import { STORE_NOTIFICATION } from "./lua/generated.js";

/** A notification to send. */
export interface NewNotification {
  /**
   * Whose stream it goes to: channel `notifications:{userId}`. At most 498 bytes of UTF-8, no control
   * characters. */
  readonly userId: string;
  /** The title. */
  readonly title: string;
  /** The text below the title. Default: an empty text. */
  readonly body?: string;
  /** Anything with a JSON form, for the app's own use. */
  readonly data?: unknown;
}

/** A stored notification. */
export interface Notification {
  /** The id. */
  readonly id: string;
  /** The user who gets the notification. */
  readonly userId: string;
  /** The title. */
  readonly title: string;
  /** The text below the title. Empty if there is none. */
  readonly body: string;
  /** The application's own data, if it gave any. */
  readonly data?: unknown;
  /** ISO 8601. */
  readonly createdAt: string;
}

/** Options of `NotificationService.list()`. */
export interface ListNotificationsOptions {
  /** The most notifications, 1 to 200. Default 50. */
  readonly limit?: number | undefined;
}

/** Counts since the service was made. */
export interface NotificationStatistics {
  /** Entries that `list()` left out, because they hold no notification of their user. */
  readonly unreadable: number;
}

export interface NotificationDependencies {
  readonly commands: () => RedisClient;
  /** Publishes text on a channel, and keeps it for streams that come back. */
  readonly publish: (channel: string, data: string) => Promise<unknown>;
  readonly keyPrefix: string;
  readonly clock: Clock;
  readonly log: ServiceLog;
  /** The most bytes that a notification may take as JSON. */
  readonly maxBytes: number;
}

/** What is kept for one user: the newest, for a month after the last. */
const MAX_STORED = 200;
const LIST_OPTIONS: ReadonlySet<string> = new Set<keyof ListNotificationsOptions>(["limit"]);
const TTL_SECONDS = 30 * 24 * 3600;

const store = defineScript("StoreNotification", STORE_NOTIFICATION, 1, Number);

/** Notifications for users: each is stored, and sent to the streams that its user has open. */
export class NotificationService {
  readonly #deps: NotificationDependencies;
  #unreadable = 0;

  /** Made by `createRedisSse()`. @hidden */
  constructor(deps: NotificationDependencies) {
    this.#deps = deps;
  }

  /**
   * Stores a notification, publishes it as JSON on `notifications:{userId}`, and answers its id. Rejects
   * with `INVALID_NOTIFICATION` or `EVENT_TOO_LARGE`, or with a fault of Redis when it could not be stored.
   * A fault in publishing is written to `logger` only: the notification is stored.
   */
  async create(input: NewNotification): Promise<string> {
    const notification = this.#read(input);
    const json = encodeJson(notification, "data");
    if (isLargerThan(json, this.#deps.maxBytes)) {
      throw new RedisSseError(
        "EVENT_TOO_LARGE",
        `expected a notification of at most ${this.#deps.maxBytes} bytes`,
      );
    }
    try {
      await store(
        this.#deps.commands(),
        [this.#keyOf(notification.userId)],
        [json, MAX_STORED - 1, TTL_SECONDS],
      );
    } catch (error) {
      throw sanitize(error);
    }
    try {
      await this.#deps.publish(channelOf(notification.userId), json);
    } catch (error) {
      this.#deps.log.fault(
        "notification",
        "a notification was stored and could not be sent to open streams: %s",
        sanitize(error).message,
      );
    }
    return notification.id;
  }

  /**
   * A user's notifications, newest first. Leaves out entries that another program has damaged, and counts them in
   * `statistics`. Rejects with `INVALID_NOTIFICATION` for the user id, `ConfigError` for the options, or a fault of Redis.
   */
  async list(userId: string, options: ListNotificationsOptions = {}): Promise<readonly Notification[]> {
    assertUserId(userId);
    assertOptions("list()", options, LIST_OPTIONS);
    const { limit = 50 } = options;
    readWholeNumber("limit", limit, 1, MAX_STORED);
    let stored: readonly string[];
    try {
      stored = await this.#deps.commands().lrange(this.#keyOf(userId), 0, limit - 1);
    } catch (error) {
      throw sanitize(error);
    }
    const notifications = stored.map((json) => parseNotification(json, userId));
    const found = notifications.filter((each) => each !== null);
    this.#unreadable += notifications.length - found.length;
    return found;
  }

  /** What `list()` of this process has found. */
  get statistics(): NotificationStatistics {
    return { unreadable: this.#unreadable };
  }

  #read(input: NewNotification): Notification {
    if (typeof input !== "object" || input === null)
      throw invalid("expected { userId, title, body?, data? }");
    const { userId, title, body = "", data, ...others } = input;
    assertUserId(userId);
    if (typeof title !== "string" || title === "") throw invalid("expected title as a non-empty string");
    if (typeof body !== "string") throw invalid("expected body as a string");
    // A misspelt `body` would be lost.
    const unknown = Object.entries(others).find(([, value]) => value !== undefined);
    if (unknown !== undefined) {
      throw invalid(
        `expected a notification of userId, title, body and data alone, got ${nameOf(unknown[0])} too`,
      );
    }
    // Left to the whole, a function would vanish without a word.
    if (data !== undefined) encodeJson(data, "data");
    return {
      id: randomUUID(),
      userId,
      title,
      body,
      ...(data !== undefined && { data }),
      createdAt: new Date(this.#deps.clock.now()).toISOString(),
    };
  }

  #keyOf(userId: string): string {
    return `${this.#deps.keyPrefix}inbox:${userId}`;
  }
}

function channelOf(userId: string): string {
  return `notifications:${userId}`;
}

/** The name of the user's channel then has at most 512 bytes, the most that a channel name may have. */
const MAX_USER_ID_BYTES = 498;

function assertUserId(userId: unknown): asserts userId is string {
  // oxlint-disable-next-line no-control-regex -- control characters are what must not pass
  const isText = typeof userId === "string" && /^[^\u0000-\u001f\u007f\p{Surrogate}]+$/u.test(userId);
  if (isText && !isLargerThan(userId, MAX_USER_ID_BYTES)) return;
  throw invalid(
    `expected userId as a string of 1 to ${MAX_USER_ID_BYTES} bytes of UTF-8 without control characters, got ${describe(userId)}`,
  );
}

/** `null` for text that is no notification of the user. */
function parseNotification(json: string, userId: string): Notification | null {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return null;
  }
  if (typeof value !== "object" || value === null) return null;
  const entry = value as Partial<Record<keyof Notification, unknown>>;
  const hasTexts = TEXTS.every((name) => typeof entry[name] === "string");
  return hasTexts && entry.userId === userId ? (value as Notification) : null;
}

const TEXTS = ["id", "userId", "title", "body", "createdAt"] as const;

function invalid(message: string): RedisSseError {
  return new RedisSseError("INVALID_NOTIFICATION", message);
}
