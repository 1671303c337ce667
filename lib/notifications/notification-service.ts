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
   * Id of the user. The notification is published on the channel `notifications:{userId}`.
   *
   * 1 to 498 bytes of UTF-8, without control characters.
   */
  readonly userId: string;
  /** The title. It must not be empty. */
  readonly title: string;
  /**
   * The text below the title.
   *
   * @defaultValue an empty text
   */
  readonly body?: string;
  /** Your own data: any value that JSON can express. */
  readonly data?: unknown;
}

/** A stored notification. */
export interface Notification {
  /** The id. */
  readonly id: string;
  /** Id of the user. */
  readonly userId: string;
  /** The title. */
  readonly title: string;
  /** The text below the title. It can be empty. */
  readonly body: string;
  /** Your own data. Absent if you passed none. */
  readonly data?: unknown;
  /** When `create()` was called, in ISO 8601. */
  readonly createdAt: string;
}

/** Options of `NotificationService.list()`. */
export interface ListNotificationsOptions {
  /**
   * Maximum number of notifications, from 1 to 200.
   *
   * @defaultValue 50
   */
  readonly limit?: number | undefined;
}

/** Counters since the service was created. */
export interface NotificationStatistics {
  /** Number of entries that `list()` left out, because they are not valid notifications of the user. */
  readonly unreadable: number;
}

export interface NotificationDependencies {
  readonly commands: () => RedisClient;
  /** Publishes text on a channel and stores it in the history of the channel. */
  readonly publish: (channel: string, data: string) => Promise<unknown>;
  readonly keyPrefix: string;
  readonly clock: Clock;
  readonly log: ServiceLog;
  /** Maximum size of a notification as JSON, in bytes. */
  readonly maxBytes: number;
}

/** Number of notifications that are kept for one user. */
const MAX_STORED = 200;
const LIST_OPTIONS: ReadonlySet<string> = new Set<keyof ListNotificationsOptions>(["limit"]);
/** How long they are kept after the newest one. */
const TTL_SECONDS = 30 * 24 * 3600;

const store = defineScript("StoreNotification", STORE_NOTIFICATION, 1, Number);

/** Stores notifications for users, and sends them to the open streams of the user. */
export class NotificationService {
  readonly #deps: NotificationDependencies;
  #unreadable = 0;

  /** Use `createRedisSse()` instead. @hidden */
  constructor(deps: NotificationDependencies) {
    this.#deps = deps;
  }

  /**
   * Stores a notification, and publishes it as JSON on `notifications:{userId}`. Resolves to its id.
   *
   * Rejects with `INVALID_NOTIFICATION`, `EVENT_TOO_LARGE`, `UNSERIALIZABLE` for `data`, or a Redis error if it could
   * not be stored. If the notification is stored but cannot be published, the promise resolves, and the `logger` gets a
   * warning.
   */
  async create(input: NewNotification): Promise<string> {
    const notification = this.#read(input);
    const json = encodeJson(notification, "data");
    if (isLargerThan(json, this.#deps.maxBytes)) {
      throw new RedisSseError(
        "EVENT_TOO_LARGE",
        `This notification is larger than ${this.#deps.maxBytes} bytes. Send less data, or a link to it.`,
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
        "a notification was stored, but could not be sent to open streams: %s",
        sanitize(error).message,
      );
    }
    return notification.id;
  }

  /**
   * Lists the stored notifications of a user, newest first.
   *
   * It leaves out entries that another program damaged, and counts them in `statistics`. Rejects with
   * `INVALID_NOTIFICATION` for the user id, `ConfigError` for the options, or a Redis error.
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

  /** Counters of this process. */
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
    // A misspelt name, such as `boddy`, would otherwise be ignored.
    const unknown = Object.entries(others).find(([, value]) => value !== undefined);
    if (unknown !== undefined) {
      throw invalid(
        `A notification has only the fields userId, title, body and data, but got ${nameOf(unknown[0])}.`,
      );
    }
    // Checked separately: in the JSON of the whole notification, a function would be left out without an error.
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

/** With this limit, the name of the user's channel has at most 512 bytes, which is the limit for channel names. */
const MAX_USER_ID_BYTES = 498;

function assertUserId(userId: unknown): asserts userId is string {
  // oxlint-disable-next-line no-control-regex -- the expression refuses control characters
  const isText = typeof userId === "string" && /^[^\u0000-\u001f\u007f\p{Surrogate}]+$/u.test(userId);
  if (isText && !isLargerThan(userId, MAX_USER_ID_BYTES)) return;
  throw invalid(
    `expected userId as a string of 1 to ${MAX_USER_ID_BYTES} bytes of UTF-8 without control characters, got ${describe(userId)}`,
  );
}

/** Parses a stored notification. Returns `null` if it is not a valid notification of the user. */
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
