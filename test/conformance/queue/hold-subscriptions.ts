import type { Redis } from "ioredis";
import { stub } from "sinon";

import type { RedisSse } from "../../../lib/index.js";
import { deferred } from "../../support/eventually.js";

/** Delays the SUBSCRIBE commands of a service until the returned function is called. */
export function holdSubscriptions(sse: RedisSse): () => void {
  const subscriber = sse.pool.subscriber as Redis;
  const { promise, resolve } = deferred();
  const subscribe = subscriber.subscribe.bind(subscriber) as (channel: string) => Promise<unknown>;
  stub(subscriber, "subscribe").callsFake(async (channel) => {
    await promise;
    return subscribe(channel as string);
  });
  return resolve;
}
