/** An event as an application sees it. */
export interface StreamEvent {
  readonly channel: string;
  /** The event's type; `undefined` is what a client dispatches as `message`. */
  readonly event: string | undefined;
  readonly data: string;
}
