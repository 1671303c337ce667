import { OutgoingMessage, ServerResponse } from "node:http";

/** What a function has by itself. */
const OWN_KEYS: ReadonlySet<string | symbol> = new Set([
  "length",
  "name",
  "prototype",
  "arguments",
  "caller",
]);

/** `write` as it was when this was loaded: whoever replaces it later is not written past either. */
const atLoad: unknown = Reflect.get(OutgoingMessage.prototype, "write");

/** Of what was there before, only what looks like Node's own is taken for it. */
const isNodesOwn = looksLikeNodes(atLoad);

/**
 * Whether what is written to a response goes through nothing but Node. HTTP/2 has another `write`, compression and its
 * like replace that of one response, and what observes or changes all responses of a process (an APM agent) replaces it
 * on a prototype, before this is loaded or after. Where that is in doubt the answer is no: it costs time, and nothing else.
 */
export function isWrittenByNode(res: ServerResponse): boolean {
  return isNodesOwn && res instanceof ServerResponse && res.write === atLoad && !isPatched();
}

/** Node has neither on this prototype, only on the one above. Who watches the end of responses watches their text as well. */
function isPatched(): boolean {
  return Object.hasOwn(ServerResponse.prototype, "write") || Object.hasOwn(ServerResponse.prototype, "end");
}

/** A wrapper has another name or other parameters, or bears a mark of its library (`__wrapped`). */
function looksLikeNodes(write: unknown): boolean {
  if (typeof write !== "function" || write.name !== "write" || write.length !== 3) return false;
  return Reflect.ownKeys(write).every((key) => OWN_KEYS.has(key));
}
