/** The parts of a browser that the client uses. All are absent in Node.js. */
interface Target {
  addEventListener?(type: string, listener: (event: { readonly persisted?: boolean }) => void): void;
  removeEventListener?(type: string, listener: (event: { readonly persisted?: boolean }) => void): void;
}

interface Browser extends Target {
  readonly document?: Target & { readonly visibilityState?: string };
  readonly navigator?: { readonly connection?: Target; readonly onLine?: boolean };
  readonly sessionStorage?: {
    getItem(name: string): string | null;
    setItem(name: string, value: string): void;
  };
}

const browser = globalThis as Browser;

export interface PageHandlers {
  /** The page may have slept: an open connection may be dead. */
  onWake(): void;
  /** The page may use another network, or the speed has changed. */
  onNetworkChange(): void;
  onOffline(): void;
  onOnline(): void;
  onHidden(): void;
  onVisible(): void;
  /** The browser keeps the page to show it again later, and ends its connections. */
  onStored(): void;
  onRestored(): void;
}

/** Listens for the events of a page that tell about its connections. Returns a function that removes the listeners. */
export function watchPage(handlers: PageHandlers): () => void {
  const undo: (() => void)[] = [];
  const on = (
    target: Target | undefined,
    type: string,
    listener: (event: { readonly persisted?: boolean }) => void,
  ): void => {
    target?.addEventListener?.(type, listener);
    undo.push(() => target?.removeEventListener?.(type, listener));
  };
  // An EventTarget such as a socket server in Node.js has no such events.
  if (browser.document === undefined) return () => {};
  on(browser.document, "resume", () => handlers.onWake());
  on(browser.document, "visibilitychange", () => (isHidden() ? handlers.onHidden() : handlers.onVisible()));
  on(browser.navigator?.connection, "change", () => handlers.onNetworkChange());
  on(browser, "offline", () => handlers.onOffline());
  on(browser, "online", () => handlers.onOnline());
  on(browser, "pagehide", ({ persisted }) => persisted === true && handlers.onStored());
  on(browser, "pageshow", ({ persisted }) => persisted === true && handlers.onRestored());
  return () => undo.forEach((each) => each());
}

export function isHidden(): boolean {
  return browser.document?.visibilityState === "hidden";
}

/** Whether the browser knows that no network can work. */
export function isOffline(): boolean {
  return browser.navigator?.onLine === false;
}

/** Reads an id that a page has kept. A browser may deny the storage. */
export function readStored(name: string): string {
  try {
    return browser.sessionStorage?.getItem(name) ?? "";
  } catch {
    return "";
  }
}

export function writeStored(name: string, value: string): void {
  try {
    browser.sessionStorage?.setItem(name, value);
  } catch {
    // Without storage, the id is kept in memory only.
  }
}
