import { randomUUID } from "node:crypto";

import type { Clock } from "../clock.js";
import { RedisSseError, sanitize } from "../errors.js";
import { createLog, printable } from "../log.js";
import type { RedisClient } from "../redis/client.js";
import { defineScript } from "../redis/script.js";
import { encodeJson, isLargerThan } from "../serialize.js";
import { STORE_NOTIFICATION } from "./lua/generated.js";

/** A notification to send. */
export interface NewNotification {
  /** Whose stream it goes to: channel `notifications:{userId}`. At most 128 characters, no control characters. */
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

export interface NotificationDependencies {
  readonly commands: () => RedisClient;
  /** Publishes text on a channel, and keeps it for streams that come back. */
  readonly publish: (channel: string, data: string) => Promise<unknown>;
  readonly keyPrefix: string;
  readonly clock: Clock;
  /** The most bytes that a notification may take as JSON. */
  readonly maxBytes: number;
}

const log = createLog("notifications");

/** What is kept for one user: the newest, for a month after the last. */
const MAX_STORED = 200;
const TTL_SECONDS = 30 * 24 * 3600;

const store = defineScript("StoreNotification", STORE_NOTIFICATION, 1, Number);

/** Notifications for users: each is stored, and sent to the streams that its user has open. */
export class NotificationService {
  readonly #deps: NotificationDependencies;

  /** Made by `createRedisSse()`. @hidden */
  constructor(deps: NotificationDependencies) {
    this.#deps = deps;
  }

  /**
   * Stores a notification, publishes it as JSON on `notifications:{userId}`, and answers its id. Rejects
   * with `INVALID_NOTIFICATION` or `EVENT_TOO_LARGE`, or with a fault of Redis when it could not be stored.
   * A fault in publishing is logged and no more: the notification is stored, and its caller is not to fail.
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
      log("publish failed: %s: %s", printable(channelOf(notification.userId)), sanitize(error).message);
    }
    return notification.id;
  }

  /** A user's notifications, newest first, at most `limit` (1 to 200, default 50). */
  async list(userId: string, { limit = 50 }: { limit?: number } = {}): Promise<readonly Notification[]> {
    assertUserId(userId);
    if (!Number.isSafeInteger(limit) || limit < 1 || limit > MAX_STORED) {
      throw invalid(`expected limit as a whole number from 1 to ${MAX_STORED}`);
    }
    try {
      const stored = await this.#deps.commands().lrange(this.#keyOf(userId), 0, limit - 1);
      return stored.map((json) => JSON.parse(json) as Notification);
    } catch (error) {
      throw sanitize(error);
    }
  }

  #read(input: NewNotification): Notification {
    if (typeof input !== "object" || input === null)
      throw invalid("expected { userId, title, body?, data? }");
    const { userId, title, body = "", data } = input;
    assertUserId(userId);
    if (typeof title !== "string" || title === "") throw invalid("expected title as a non-empty string");
    if (typeof body !== "string") throw invalid("expected body as a string");
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

function assertUserId(userId: unknown): asserts userId is string {
  // oxlint-disable-next-line no-control-regex -- control characters are what must not pass
  if (typeof userId !== "string" || !/^[^\u0000-\u001f\u007f\p{Surrogate}]{1,128}$/u.test(userId)) {
    throw invalid("expected userId as a string of 1 to 128 characters without control characters");
  }
}

function invalid(message: string): RedisSseError {
  return new RedisSseError("INVALID_NOTIFICATION", message);
}
