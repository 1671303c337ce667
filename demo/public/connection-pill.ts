import { byId, setText } from "./dom.js";
import type { Connection } from "./stream.js";

export function showConnection(connection: Connection): void {
  const pill = byId("connection", HTMLElement);
  const text = "reason" in connection ? `${connection.state}: ${connection.reason}` : connection.state;
  pill.dataset["state"] = connection.state;
  // Dims all numbers that can be out of date.
  document.body.dataset["live"] = String(connection.state === "live");
  // The tooltip has the full text, because the pill cuts off long reasons.
  pill.title = connection.state === "live" ? `Session ${connection.sessionId}` : text;
  setText(byId("connection-text", HTMLElement), text);
}
