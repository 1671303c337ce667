import { EventBatch } from "../events/event-batch.js";
import type { LogPage } from "./history-port.js";
import type { InboundEvent } from "../events/inbound-event.js";

/** From how much text on a batch is a write of its own. */
const BATCH_LENGTH = 64 * 1024;

const known = new WeakMap<LogPage, readonly EventBatch[]>();

/** The events of a page as they are written. Pages are shared by the streams that read them, and so are these. */
export function batchesOf(page: LogPage): readonly EventBatch[] {
  let batches = known.get(page);
  if (batches === undefined) known.set(page, (batches = split(page.events)));
  return batches;
}

function split(events: LogPage["events"]): readonly EventBatch[] {
  const batches: EventBatch[] = [];
  let batch: InboundEvent[] = [];
  let length = 0;
  for (const event of events) {
    batch.push(event);
    length += event.frame.length;
    if (length < BATCH_LENGTH) continue;
    batches.push(new EventBatch(event.channel, batch, true));
    batch = [];
    length = 0;
  }
  if (batch.length > 0) batches.push(new EventBatch(batch[0]!.channel, batch, true));
  return batches;
}
