/** Runs in the page: shows the orders and the status, and records all that the client tells. */

import type { Gap, Status } from "../../client/index.js";

/** What a page has seen. It is kept in the document, because the test also looks for new globals. */
export interface PageRecord {
  readonly orders: number[];
  readonly statuses: Status[];
  readonly gaps: Gap[];
  newGlobals: string[];
}

const record: PageRecord = { orders: [], statuses: [], gaps: [], newGlobals: [] };

const globals = new Set(Object.keys(window));
const { connect } = await import("../../client/index.js");
const stream = connect<{ order: number }>("/events");

stream.on("order", (order) => update(() => record.orders.push(order)));
stream.onGap((gap) => update(() => record.gaps.push(gap)));
stream.onStatus((status) => update(() => record.statuses.push(status)));
update(() => record.statuses.push(stream.status));

function update(change: () => void): void {
  change();
  record.newGlobals = Object.keys(window).filter((name) => !globals.has(name));
  document.querySelector("#orders")!.textContent = record.orders.join(", ");
  document.querySelector("#status")!.textContent = describe(stream.status);
  document.querySelector("#record")!.textContent = JSON.stringify(record);
}

function describe(status: Status): string {
  switch (status.state) {
    case "connecting":
      return "Connecting …";
    case "open":
      return "Connected.";
    case "waiting":
      return `Disconnected (${status.reason}). Next try at ${new Date(status.retryAt).toISOString()}.`;
    case "paused":
      return "Paused.";
    case "closed":
      return `Closed (${status.reason}).`;
  }
}
