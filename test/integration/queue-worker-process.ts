import { createRedisSse } from "../../lib/index.js";

/**
 * A worker in a process of its own, to be killed: it takes tasks, says so on its standard output, a line of
 * JSON for each, and never ends one. Arguments: URL, queue, lease in milliseconds.
 */
const [url = "", queueName = "", leaseMs = ""] = process.argv.slice(2);

createRedisSse({ redis: url })
  .queue(queueName)
  .worker(
    async ({ task, progress }) => {
      await progress(50, "half way");
      console.log(JSON.stringify(task));
      await new Promise(() => {});
    },
    { leaseMs: Number(leaseMs) },
  );
