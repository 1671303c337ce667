import { OutgoingMessage, ServerResponse } from "node:http";

/** The properties of a function that no library has changed. */
const OWN_KEYS: ReadonlySet<string | symbol> = new Set([
  "length",
  "name",
  "prototype",
  "arguments",
  "caller",
]);

/** `write` at the time when this module was loaded. A later replacement is found by comparison with it. */
const atLoad: unknown = Reflect.get(OutgoingMessage.prototype, "write");

/** A library may have replaced `write` before this module was loaded. */
const isNodesOwn = looksLikeNodes(atLoad);

/**
 * Whether only Node's own code handles the writes of this response.
 *
 * HTTP/2 has another `write`. Compression middleware replaces `write` of one response. An APM agent replaces it on a
 * prototype, before or after this module is loaded. If this is uncertain, the result is false, which only costs speed.
 */
export function isWrittenByNode(res: ServerResponse): boolean {
  return isNodesOwn && res instanceof ServerResponse && res.write === atLoad && !isPatched();
}

/**
 * Whether a library has changed the prototype. Node defines both methods only on `OutgoingMessage.prototype`. A library that
 * replaces `end` also needs to see the text.
 */
function isPatched(): boolean {
  return Object.hasOwn(ServerResponse.prototype, "write") || Object.hasOwn(ServerResponse.prototype, "end");
}

/** A wrapper has another name, other parameters, or a property of its library such as `__wrapped`. */
function looksLikeNodes(write: unknown): boolean {
  if (typeof write !== "function" || write.name !== "write" || write.length !== 3) return false;
  return Reflect.ownKeys(write).every((key) => OWN_KEYS.has(key));
}
