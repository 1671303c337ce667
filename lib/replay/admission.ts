import { encodeEntry, parseEntries, resumeTokenOf, splitToken, type Position } from "../sse/event-id.js";
import type { IdTokens, TokenUse } from "../sse/id-token.js";
import { isSamePlace } from "./catch-up.js";
import { ChannelMap } from "./channel-map.js";
import type { ChannelReplay } from "./channel-replay.js";
import type { Tail } from "./history-port.js";
import type { SessionCursor, TokenSource } from "./session-cursor.js";
import { ClientPlaces, type ResumeLimit } from "./last-event-id.js";

interface Place {
  readonly channel: string;
  readonly position: Position;
}

interface Floor extends Place {
  /** See `IdTokens.tagOf()`. */
  readonly tag: number;
}

/** The client has no valid token. */
const NO_TOKEN: ResumeLimit = { floors: null, validUntil: Infinity };

const TIME_BYTES = 6;

/** The least time between two renewals of a token. */
const RENEWAL_MS = 5_000;

/**
 * The places from which the client of one stream may resume later, one for each channel: the floors. The client keeps them as
 * a signed token in its ids, so that all processes accept them.
 *
 * - Without `maxAgeMs`, a floor is the place where the first stream of the client started. Each token repeats it.
 * - With `maxAgeMs`, the token also has a time of Redis' clock, and all events after the floors are newer than it. So a token
 *   that is not older than `maxAgeMs` cannot replay an event that is older. The token is renewed while the client has all
 *   events. Its time is the time of a read, because the server may not have received the newest events yet.
 */
export class Admission implements TokenSource {
  readonly #tokens: IdTokens;
  readonly #use: TokenUse;
  readonly #maxAgeMs: number | undefined;
  readonly #floors = new ChannelMap<Floor>();
  /** With `maxAgeMs`, all events after the floors are newer than this time. */
  #at = Infinity;
  /** `null` if it must be signed again. */
  #token: string | null = null;

  constructor(tokens: IdTokens, key: string | undefined, maxAgeMs?: number) {
    this.#tokens = tokens;
    this.#use = { purpose: maxAgeMs === undefined ? "since-admission" : "max-age", key };
    this.#maxAgeMs = maxAgeMs;
  }

  /** How far back the client may resume with its id, which is untrusted input. */
  limitOf(lastEventId: string | undefined, channels: readonly string[]): ResumeLimit {
    const { token } = splitToken(lastEventId ?? "");
    const opened = token === undefined ? null : this.#tokens.open(this.#use, resumeTokenOf(token));
    if (opened === null) return NO_TOKEN;
    const { content, tagOf } = opened;
    const head = this.#maxAgeMs === undefined ? 0 : TIME_BYTES;
    const floors = parseEntries(content.subarray(head));
    if (floors === null) return NO_TOKEN;
    const validUntil =
      this.#maxAgeMs === undefined ? Infinity : content.readUIntBE(0, TIME_BYTES) + this.#maxAgeMs;
    return { floors: new ClientPlaces(floors, channels, null, tagOf), validUntil };
  }

  /** Keeps the floor that the client had in a channel. Otherwise the channel gets a floor now. */
  admit(channel: string, start: Position, tail: Tail, limit: ResumeLimit | null): void {
    const isValid = limit !== null && tail.at <= limit.validUntil;
    const former = isValid ? limit.floors?.find(channel, tail.position.epoch) : undefined;
    if (this.#maxAgeMs === undefined) this.#setFloor({ channel, position: former ?? start });
    else {
      // The events between the start of the stream and the newest one may be of any age.
      this.#setFloor({ channel, position: former ?? tail.position });
      const at = former ? limit!.validUntil - this.#maxAgeMs : tail.at;
      this.#at = Math.min(this.#at, at);
    }
    this.#token = null;
  }

  forget(channel: string): void {
    this.#floors.delete(channel);
    this.#token = null;
  }

  /**
   * Moves the floors to the newest events, if the token has a time. The client must have all events, so that later events are
   * newer than the new time. Returns whether the token has changed.
   */
  renew(
    tracks: Iterable<ChannelReplay>,
    tailOf: (channel: string) => Tail | null,
    cursor: Pick<SessionCursor, "placeIn">,
  ): boolean {
    if (this.#maxAgeMs === undefined) return false;
    const places: Place[] = [];
    let at = Infinity;
    for (const { channel, behind, ended } of tracks) {
      // A client may always read an ended channel.
      if (ended !== null) continue;
      const tail = tailOf(channel);
      const place = cursor.placeIn(channel);
      if (behind || tail === null || place === undefined || !isSamePlace(place, tail.position)) return false;
      places.push({ channel, position: tail.position });
      at = Math.min(at, tail.at);
    }
    const isDue = at - this.#at >= Math.min(RENEWAL_MS, this.#maxAgeMs / 4);
    if (places.length === 0 || !isDue) return false;
    for (const each of places) this.#setFloor(each);
    this.#at = at;
    this.#token = null;
    return true;
  }

  /** The token for the ids of the stream; `undefined` while no channel has a history. */
  get token(): string | undefined {
    if (this.#floors.size === 0) return undefined;
    return (this.#token ??= this.#seal());
  }

  #setFloor({ channel, position }: Place): void {
    const tag = this.#floors.get(channel)?.tag ?? this.#tokens.tagOf(channel);
    this.#floors.set({ channel, tag, position });
  }

  #seal(): string {
    const parts = Array.from(this.#floors.values(), ({ tag, position }) => encodeEntry({ ...position, tag }));
    if (this.#maxAgeMs !== undefined) {
      const time = Buffer.alloc(TIME_BYTES);
      time.writeUIntBE(this.#at, 0, TIME_BYTES);
      parts.unshift(time);
    }
    return this.#tokens.seal(this.#use, Buffer.concat(parts));
  }
}
