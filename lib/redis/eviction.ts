import type { ServiceLog } from "../logger.js";
import { isMock, type RedisClient } from "./client.js";

/**
 * Warns once if Redis is configured to delete keys when its memory is full: logs, and with `allkeys-...` also tasks that wait.
 * Never rejects. Writes nothing if the server does not tell its configuration.
 *
 * https://redis.io/docs/latest/develop/reference/eviction/
 */
export async function warnOfEviction(client: RedisClient, log: ServiceLog): Promise<void> {
  if (isMock(client)) return;
  let policy: string | undefined;
  try {
    const nodes = "nodes" in client ? client.nodes("master") : [client];
    // A node that is away, or an ACL that refuses INFO there, does not hide what the others say.
    const answers = await Promise.allSettled(nodes.map((node) => node.info("memory")));
    const policies = answers.flatMap((answer) =>
      answer.status === "fulfilled" ? (/^maxmemory_policy:(\S+)/m.exec(answer.value)?.[1] ?? []) : [],
    );
    policy =
      policies.find((each) => each.startsWith("allkeys-")) ??
      policies.find((each) => each.startsWith("volatile-"));
  } catch {
    return; // The connection may end meanwhile.
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
      "Redis has the maxmemory-policy %s. When its memory is full, it deletes the history of channels and stored notifications; clients that " +
        "resume then get a gap. Tasks stay. Set maxmemory-policy to noeviction to keep the history.",
      policy,
    );
  }
}
