import { byId, setText } from "./dom.js";
import type { Connection } from "./stream.js";

export function showConnection(connection: Connection): void {
  const pill = byId("connection", HTMLElement);
  const text = connection.state === "reconnecting" ? `reconnecting: ${connection.reason}` : connection.state;
  pill.dataset["state"] = connection.state;
  // Dims every number that may be old.
  document.body.dataset["live"] = String(connection.state === "live");
  // The pill cuts a long reason short, the tooltip has all of it.
  pill.title = connection.state === "live" ? `Session ${connection.sessionId}` : text;
  setText(byId("connection-text", HTMLElement), text);
}
