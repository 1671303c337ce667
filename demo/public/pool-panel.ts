import { ApiError, call, messageOf } from "./api.js";
import { byId, el, setText, userText } from "./dom.js";
import { listAt, numberAt, objectAt, stringAt, type JsonObject } from "./json.js";
import { operatorToken, setOperatorToken } from "./operator-token.js";
import { readable } from "./stream.js";

const EVERY_MS = 2_000;
const CHANNELS_SHOWN = 60;

function show(id: string, value: number | string | undefined): void {
  setText(byId(id, HTMLElement), value === undefined ? "–" : String(value));
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** Returns the positive numbers of an object, largest first. */
function countsOf(object: JsonObject | undefined): (readonly [string, number])[] {
  return Object.keys(object ?? {})
    .map((key) => [key, numberAt(object, key) ?? 0] as const)
    .filter(([, count]) => count > 0)
    .toSorted(([, a], [, b]) => b - a);
}

/** Replaces the list only if it changed, so that selected text stays selected. */
function showList(id: string, texts: readonly string[]): void {
  const list = byId(id, HTMLUListElement);
  const now = JSON.stringify(texts);
  if (list.dataset["shown"] === now) return;
  list.dataset["shown"] = now;
  list.replaceChildren(...texts.map((text) => el("li", {}, userText(text))));
}

function showStatus(status: JsonObject): void {
  const pool = objectAt(status, "pool");
  const roles = objectAt(pool, "connections");
  const sessions = objectAt(status, "sessions");
  const connections = countsOf(roles).reduce((sum, [, count]) => sum + count, 0);
  const browsers = plural(numberAt(sessions, "open") ?? 0, "browser");
  show("pool-headline", `${browsers}, ${plural(connections, "Redis connection")}`);

  const isDedicated = stringAt(status, "subscriptions") === "dedicated";
  byId("pool-shared", HTMLElement).hidden = isDedicated;
  byId("pool-dedicated", HTMLElement).hidden = !isDedicated;
  show("pool-commands", numberAt(roles, "command"));
  show("pool-subscriber", numberAt(roles, "subscriber"));
  show("pool-in-use", `${numberAt(pool, "inUse")} of ${numberAt(pool, "maxConnections")}`);
  show("pool-waiting", numberAt(pool, "waiting"));
  show("pool-clients", numberAt(objectAt(status, "redis"), "connectedClients"));
  show("pool-opened", numberAt(sessions, "opened"));

  const closed = countsOf(objectAt(sessions, "closed"));
  byId("pool-closed-part", HTMLElement).hidden = closed.length === 0;
  showList(
    "pool-closed",
    closed.map(([reason, count]) => `${readable(reason)}: ${count}`),
  );

  const channels = listAt(status, "channels").map(String).toSorted();
  const shown = channels.slice(0, CHANNELS_SHOWN);
  if (channels.length > shown.length) shown.push(`and ${channels.length - shown.length} more`);
  show("pool-channel-count", channels.length);
  showList("pool-channels", shown);
}

/** Shows the server's description of its Redis server. */
export async function showRedis(): Promise<void> {
  try {
    const redis = stringAt(await call("GET", "/healthz"), "redis");
    if (redis !== undefined) show("redis-name", redis);
  } catch {
    // The connection pill already shows the failure. The last name stays visible.
  }
}

/** Starts polling. Returns a function that polls immediately. */
export function startPoolPanel(): () => void {
  const panel = byId("pool-panel", HTMLElement);
  const tokenForm = byId("token-form", HTMLFormElement);
  const tokenInput = byId("token", HTMLInputElement);
  let timer: ReturnType<typeof setTimeout> | undefined;
  let asking = false;
  let refused = false;

  function setState(state: "live" | "stale" | "locked", text: string): void {
    panel.dataset["state"] = state;
    show("pool-status", text);
    tokenForm.hidden = state !== "locked";
  }

  async function ask(): Promise<void> {
    clearTimeout(timer);
    // Hidden tabs do not poll. A rejected token is not sent again.
    if (asking || refused || document.hidden) return;
    asking = true;
    try {
      const status = await call("GET", "/api/status", { token: operatorToken() });
      if (stringAt(objectAt(status, "redis"), "fault") !== undefined) {
        setState("stale", "Redis is unavailable");
      } else {
        showStatus(status);
        setState("live", "updated every 2 s");
      }
    } catch (error) {
      // If the token has characters that a header cannot carry, fetch() throws another error. Only a new token helps.
      refused = !(error instanceof ApiError) || error.status === 401;
      if (refused) setState("locked", "locked");
      else setState("stale", messageOf(error));
    } finally {
      asking = false;
    }
    if (!document.hidden) timer = setTimeout(() => void ask(), EVERY_MS);
  }

  document.addEventListener("visibilitychange", () => void ask());
  tokenForm.addEventListener("submit", (event) => {
    event.preventDefault();
    setOperatorToken(tokenInput.value.trim());
    refused = false;
    void ask();
  });
  void ask();
  return () => void ask();
}
