import { useMemo } from "react";

import { connect, type Message, type Source, type Status, type StreamUrl } from "../client/index.js";
import {
  connectOptionsOf,
  identityOf,
  useTarget,
  type Latest,
  type StreamFollowOptions,
  type StreamTarget,
} from "./stream-options.js";
import { StreamStore } from "./stream-store.js";

/** How the events of a stream change a state. All functions are pure. */
export interface StreamReducer<State> {
  readonly initial: State;
  /** The state without a URL. */
  readonly withoutUrl: State;
  readonly events: Readonly<Record<string, (state: State, message: Message) => State>>;
  onStatus(state: State, status: Status): State;
  /** The server no longer has some events. `reason` tells why. */
  onLoss(state: State, reason: string): State;
}

/**
 * The state of a stream that the server sends from its beginning to a new client.
 *
 * If events are lost, the stream is opened again from its beginning, one time. If that also loses events, the server no longer has them.
 */
export function useFollowedStream<State>(
  url: StreamUrl | Source | null,
  options: StreamFollowOptions,
  latest: Latest<StreamFollowOptions>,
  reducer: StreamReducer<State>,
): StreamStore<State> {
  const target = useTarget(url);
  const identity = identityOf(options);
  return useMemo(
    () => createFollowStore(target, latest, reducer),
    // A change of `identity` stands for a change of the options that need another connection.
    [target, identity, latest, reducer],
  );
}

export function createFollowStore<State>(
  target: StreamTarget | null,
  latest: Latest<StreamFollowOptions>,
  reducer: StreamReducer<State>,
): StreamStore<State> {
  if (target === null) return new StreamStore(reducer.withoutUrl, null);
  let isRepeated = false;
  const store: StreamStore<State> = new StreamStore(reducer.initial, (update) => {
    update(() => reducer.initial);
    const connection = connect(target, connectOptionsOf(latest));
    connection.onStatus((status) => update((state) => reducer.onStatus(state, status)));
    connection.onGap(({ reason }) => {
      if (isRepeated) return update((state) => reducer.onLoss(state, reason));
      isRepeated = true;
      store.restart();
    });
    for (const [event, reduce] of Object.entries(reducer.events))
      connection.on(event, (_data, message) => update((state) => reduce(state, message)));
    return connection;
  });
  return store;
}
