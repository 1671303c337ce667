import { Cluster } from "ioredis";

import { createRedisSse, type RedisSse } from "../../lib/index.js";
import type { ServiceOptions } from "./channels.js";

export interface NodeAddress {
  readonly host: string;
  readonly port: number;
}

/** Where Redis is, as it can be handed to a process: a URL, nodes of a cluster, or sentinels and their master. */
export type RedisAddress =
  | string
  | { readonly nodes: readonly NodeAddress[] }
  | { readonly sentinels: { host: string; port: number }[]; readonly name: string };

/** A service as an application would make it. */
export function createService({ redis, ...options }: ServiceOptions): RedisSse {
  if (typeof redis === "string" || "sentinels" in redis) return createRedisSse({ ...options, redis });
  // The library duplicates it, and leaves this one as it is: never connected.
  return createRedisSse({ ...options, redis: new Cluster([...redis.nodes], { lazyConnect: true }) });
}
