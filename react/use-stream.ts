import { useMemo, useSyncExternalStore } from "react";

import {
  connect,
  createFetchSource,
  type ConnectOptions,
  type ControlEvents,
  type EventDefinitions,
  type EventMap,
  type EventSchemas,
  type EventsOf,
  type Gap,
  type Message,
  type Source,
  type Status,
  type StreamConnection,
  type StreamUrl,
} from "../client/index.js";
import {
  CONNECTING,
  connectOptionsOf,
  identityOf,
  useLatest,
  useTarget,
  WITHOUT_URL,
  type Latest,
  type StreamTarget,
} from "./stream-options.js";
import { StreamStore, type Update } from "./stream-store.js";

/** The events of the server itself. `status` and `onGap` tell what they mean. */
const CONTROL: ReadonlySet<string> = new Set<keyof ControlEvents>(["connected", "gap", "error", "closing"]);

/** A handler for each type of event. */
export type StreamHandlers<Events extends EventMap> = {
  readonly [Name in keyof Events]?: (data: Events[Name], message: Message) => void;
};

/** Options of `useStream()`: handlers, and the options of `connect()` except `signal`. */
export interface UseStreamOptions<
  Events extends EventMap = EventMap,
  Schemas extends EventSchemas = EventSchemas,
> extends Omit<ConnectOptions<Schemas>, "signal"> {
  /** A handler for each type of event. The handlers of the last render are called, so they need no `useCallback()`. */
  readonly on?: StreamHandlers<Events> | undefined;
  /** Called when events were lost: load the current state again. */
  readonly onGap?: ((gap: Gap) => void) | undefined;
}

/** Options of any events. Their types exist only at compile time. */
type AnyOptions = UseStreamOptions<Readonly<Record<string, never>>>;

/** What `useStream()` returns. */
export interface StreamResult {
  /** The state of the connection. Without a URL, it is "closed" with the reason "no-url". */
  readonly status: Status;
  /** The newest event of any type, except the control events of the server. `null` before the first. */
  readonly lastMessage: Message | null;
  /** The open stream. `null` on the server, before the component is mounted, and without a URL. */
  readonly connection: StreamConnection | null;
}

/**
 * Keeps a stream open while the component is mounted.
 *
 * The stream stays open while these are equal: the URL, `headers`, `credentials`, `keepId`, `pauseHiddenAfterMs` and
 * `maxRetryMs`. If one of them changes, the hook opens another stream. The newest `token`, `fetch` and `events` are used.
 *
 * `url` can be a function that returns the URL for each connection, for example with a new ticket. Each connection calls the
 * function of the last render. If you pass a new function, the open stream stays open. To open a new stream, change the `key` of
 * the component.
 *
 * `lastMessage` is the newest event at the time of a render. To see each event, use `on`.
 */
export function useStream<Schemas extends EventSchemas>(
  url: StreamUrl | Source | null,
  options: UseStreamOptions<EventsOf<Schemas>, Schemas> & { readonly events: EventDefinitions<Schemas> },
): StreamResult;
export function useStream<Events extends EventMap = EventMap>(
  url: StreamUrl | Source | null,
  // With `events`, only the first signature counts. Otherwise this one would accept handlers of unknown events.
  options?: UseStreamOptions<Events> & { readonly events?: undefined },
): StreamResult;
export function useStream(url: StreamUrl | Source | null, options: AnyOptions = {}): StreamResult {
  const latest = useLatest(options);
  const target = useTarget(url);
  const identity = identityOf(options);
  const store = useMemo(
    () => createStore(target, latest),
    // A change of `identity` stands for a change of the options that need another connection.
    [target, identity, latest],
  );
  return useSyncExternalStore(store.subscribe, store.getSnapshot, store.getServerSnapshot);
}

function createStore(target: StreamTarget | null, latest: Latest<AnyOptions>): StreamStore<StreamResult> {
  const empty = { lastMessage: null, connection: null };
  if (target === null) return new StreamStore<StreamResult>({ ...empty, status: WITHOUT_URL }, null);
  return new StreamStore<StreamResult>({ ...empty, status: CONNECTING }, (update, previous) =>
    open(target, latest, update, previous?.lastEventId || latest.current.lastEventId),
  );
}

function open(
  target: StreamTarget,
  latest: Latest<AnyOptions>,
  update: Update<StreamResult>,
  lastEventId: string | null | undefined,
): StreamConnection {
  const handle = (data: unknown, message: Message): void => {
    if (!CONTROL.has(message.event)) update((state) => ({ ...state, lastMessage: message }));
    const handlers = latest.current.on ?? {};
    if (Object.hasOwn(handlers, message.event)) handlers[message.event]?.(data as never, message);
  };
  const known = new Set<string>();
  const options = connectOptionsOf(latest);
  const source = typeof target === "object" ? target : createFetchSource(target, options);
  const seen = tellTypes(source, (event) => {
    if (known.has(event)) return;
    known.add(event);
    connection.on(event, handle);
  });
  const connection: StreamConnection = connect(seen, Object.assign(options, { lastEventId }));
  update((state) => ({ ...state, connection, status: connection.status }));
  connection.onStatus((status) => update((state) => ({ ...state, status })));
  connection.onGap((gap) => latest.current.onGap?.(gap));
  return connection;
}

/** Calls `tell` with the type of each event before the connection gets it: a connection has handlers for single types only. */
function tellTypes(source: Source, tell: (event: string) => void): Source {
  return {
    name: source.name,
    open: (request, listener) =>
      source.open(request, {
        ...listener,
        onMessage(message) {
          tell(message.event);
          listener.onMessage(message);
        },
      }),
  };
}
