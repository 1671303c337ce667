import type { RedisSseError } from "../errors.js";
import type { Interruption } from "../replay/log-head.js";
import type { EventBatch } from "../events/event-batch.js";

/** Who receives the events of a channel: a session, or a part of the service itself. */
export interface HubMember {
  deliver(batch: EventBatch): void;
  /** More than one batch may follow: what they come to is to be written together, with `uncork()`. */
  cork?(): void;
  uncork?(): void;
  /** It threw while events were delivered to it. */
  failed?(): void;
  /** Messages of these channels may be missing: the connection was lost and is back. */
  interrupted(channels: readonly Interruption[]): void;
  /** The server took the channel away: nothing more comes. The member has left it already. */
  refused(channel: string, fault: RedisSseError): void;
}
