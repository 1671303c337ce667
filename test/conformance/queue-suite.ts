import { useQueue, type QueueRig } from "../support/queue-rig.js";
import type { MakeService } from "../support/service.js";
import { describeBadInput } from "./queue/bad-input.js";
import { describeCancel } from "./queue/cancel.js";
import { describeDeadLetters } from "./queue/dead-letters.js";
import { describeDelay } from "./queue/delay.js";
import { describeEnqueue } from "./queue/enqueue.js";
import { describeEnqueueMany } from "./queue/enqueue-many.js";
import { describeLeases } from "./queue/leases.js";
import { describeListing } from "./queue/listing.js";
import { describeMounted } from "./queue/mounted.js";
import { describeOrder } from "./queue/order.js";
import { describeOutput } from "./queue/output.js";
import { describeProgress } from "./queue/progress.js";
import { describeResends } from "./queue/resends.js";
import { describeRetention } from "./queue/retention.js";
import { describeRetries } from "./queue/retries.js";
import { describeSchedules } from "./queue/schedules.js";
import { describeSchemas } from "./queue/schemas.js";
import { describeTaskCancel } from "./queue/task-cancel.js";
import { describeTaskStream } from "./queue/task-stream.js";
import { describeThrownValues } from "./queue/thrown.js";
import { describeThrottling } from "./queue/throttling.js";
import { describeUnreadable } from "./queue/unreadable.js";
import { describeWakeUp } from "./queue/wake-up.js";
import { describeWorker } from "./queue/worker.js";
import { describeWorkerStop } from "./queue/worker-stop.js";

/** The parts of the suite, in this order. Each test has a queue of its own on an empty server. */
const PARTS: readonly ((rig: QueueRig) => void)[] = [
  describeEnqueue,
  describeEnqueueMany,
  describeOrder,
  describeDelay,
  describeWorker,
  describeWorkerStop,
  describeWakeUp,
  describeThrottling,
  describeRetries,
  describeThrownValues,
  describeDeadLetters,
  describeLeases,
  describeCancel,
  describeSchedules,
  describeSchemas,
  describeProgress,
  describeOutput,
  describeTaskStream,
  describeMounted,
  describeTaskCancel,
  describeListing,
  describeRetention,
  describeResends,
  describeBadInput,
  describeUnreadable,
];

/** Tests a queue and its workers on any server. */
export function describeQueue(name: string, makeService: MakeService): void {
  describe(`queue on ${name}`, () => {
    const rig = useQueue(makeService);
    for (const define of PARTS) define(rig);
  });
}
