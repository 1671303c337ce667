import type { ServiceLog } from "../logger.js";
import { isMock, type RedisClient } from "./client.js";

/**
 * Warns once if Redis deletes keys when its memory is full. With a `volatile-...` policy it deletes histories, and with an
 * `allkeys-...` policy also waiting tasks. If the policy is unknown, it writes nothing. Never rejects.
 *
 * https://redis.io/docs/latest/develop/reference/eviction/
 */
export async function warnOfEviction(client: RedisClient, log: ServiceLog): Promise<void> {
  if (isMock(client)) return;
  let policy: string | undefined;
  try {
    const nodes = "nodes" in client ? client.nodes("master") : [client];
    // A node can be unavailable, or an ACL rule can deny INFO. The other nodes still answer.
    const answers = await Promise.allSettled(nodes.map((node) => node.info("memory")));
    const policies = answers.flatMap((answer) =>
      answer.status === "fulfilled" ? (/^maxmemory_policy:(\S+)/m.exec(answer.value)?.[1] ?? []) : [],
    );
    policy =
      policies.find((each) => each.startsWith("allkeys-")) ??
      policies.find((each) => each.startsWith("volatile-"));
  } catch {
    return; // The connection can end before the answer.
  }
  if (policy?.startsWith("allkeys-")) {
    log.warnOnce(
      "eviction",
      "Redis has the maxmemory-policy %s. When its memory is full, it deletes tasks and events that were acknowledged, " +
        "without an error. Set maxmemory-policy to noeviction.",
      policy,
    );
  } else if (policy?.startsWith("volatile-")) {
    log.warnOnce(
      "eviction",
      "Redis has the maxmemory-policy %s. When its memory is full, it deletes the history of channels and stored notifications. " +
        "Then clients that resume get a gap event. Tasks are not deleted. Set maxmemory-policy to noeviction to keep the history.",
      policy,
    );
  }
}
