const KEY = "redis-sse-demo:debug-token";
const DEFAULT = "demo";

const listeners: (() => void)[] = [];

/** Gives access to data for operators. Only this tab keeps it. */
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
