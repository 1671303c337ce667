const KEY = "redis-sse-demo:debug-token";
const DEFAULT = "demo";

const listeners: (() => void)[] = [];

/** What only operators see is asked for with it. It is kept in this tab only. */
export function operatorToken(): string {
  return sessionStorage.getItem(KEY) ?? DEFAULT;
}

export function setOperatorToken(token: string): void {
  sessionStorage.setItem(KEY, token);
  for (const listener of listeners) listener();
}

export function onOperatorToken(listener: () => void): void {
  listeners.push(listener);
}
