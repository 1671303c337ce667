type Handler<Values extends readonly unknown[]> = (...values: Values) => void;

/** The handlers of one kind of event. */
export class Handlers<Values extends readonly unknown[]> {
  /** Replaced at each change, so that `call()` goes on with the handlers of its start. */
  #entries: readonly { readonly handler: Handler<Values> }[] = [];

  /** Returns a function that removes the handler. A handler that is added twice is called twice. */
  add(handler: Handler<Values>): () => void {
    if (typeof handler !== "function") throw new TypeError("A handler must be a function.");
    const entry = { handler };
    this.#entries = [...this.#entries, entry];
    return () => {
      this.#entries = this.#entries.filter((each) => each !== entry);
    };
  }

  /**
   * Calls each handler. A handler that another handler adds is called from the next event on. An error is reported like an error
   * of an event listener, and the other handlers are called.
   */
  call(...values: Values): void {
    for (const entry of this.#entries) {
      // Another handler may have removed it.
      if (!this.#entries.includes(entry)) continue;
      try {
        entry.handler(...values);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  clear(): void {
    this.#entries = [];
  }
}
