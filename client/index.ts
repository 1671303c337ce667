/**
 * `redis-sse/client`: streams in the browser, over `fetch`. It has no dependencies, and also runs in Node.js.
 *
 * @module redis-sse/client
 */

export { connect } from "./connect.js";
export { defineEvents } from "./define-events.js";
export type { DefinedEvent, EventDefinitions, EventMap, EventSchemas, EventsOf } from "./define-events.js";
export { createFetchSource } from "./fetch-source.js";
export type { CredentialRequest, FetchOptions, StreamUrl } from "./fetch-source.js";
export type { Gap, Message } from "./message.js";
export type { ConnectOptions } from "./options.js";
export type { StreamMessage } from "./parser.js";
export type { Source, SourceEnd, SourceListener, SourceRequest } from "./source.js";
export type { Status } from "./status.js";
export type { ControlEvents, StreamConnection } from "./connection-types.js";
