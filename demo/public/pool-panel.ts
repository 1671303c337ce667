import { ApiError, call, messageOf } from "./api.js";
import { byId, el, setText } from "./dom.js";
import { listAt, numberAt, objectAt, stringAt, type JsonObject } from "./json.js";
import { operatorToken, setOperatorToken } from "./operator-token.js";

const EVERY_MS = 2_000;
const SEGMENTS = 24;
const CHANNELS_SHOWN = 60;

function show(id: string, value: number | string | undefined): void {
  setText(byId(id, HTMLElement), value === undefined ? "–" : String(value));
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** The object's numbers, biggest first. */
function countsOf(object: JsonObject | undefined): (readonly [string, number])[] {
  return Object.keys(object ?? {})
    .map((key) => [key, numberAt(object, key) ?? 0] as const)
    .toSorted(([, a], [, b]) => b - a);
}

/** Replaces the list only when it has changed, so that a selection or a tooltip outlives the next poll. */
function showList(id: string, texts: readonly string[], item: (text: string) => HTMLLIElement): void {
  const list = byId(id, HTMLUListElement);
  const now = JSON.stringify(texts);
  if (list.dataset["shown"] === now) return;
  list.dataset["shown"] = now;
  list.replaceChildren(...texts.map(item));
}

function showMeter(max: number, inUse: number, available: number): void {
  const meter = byId("pool-meter", HTMLElement);
  const count = Math.min(SEGMENTS, Math.max(1, Math.round(max)));
  const scale = max > 0 ? count / max : 0;
  // A connection in use must be seen, however big the pool is.
  const used = Math.ceil(inUse * scale);
  const open = Math.round((inUse + available) * scale);
  while (meter.childElementCount > count) meter.lastElementChild?.remove();
  while (meter.childElementCount < count) meter.append(el("span", { class: "segment" }));
  Array.from(meter.children).forEach((segment, index) => {
    const state = index < used ? "in-use" : index < open ? "available" : "closed";
    if (segment.getAttribute("data-state") !== state) segment.setAttribute("data-state", state);
  });
}

function showPool(data: JsonObject | undefined): void {
  const pool = objectAt(data, "pool");
  const max = numberAt(pool, "max_connections");
  const inUse = numberAt(pool, "in_use_connections");
  const available = numberAt(pool, "available_connections");
  show("pool-in-use", inUse);
  show("pool-available", available);
  show("pool-waiting", numberAt(pool, "waiting"));
  show("pool-max", max);
  showMeter(max ?? 0, inUse ?? 0, available ?? 0);

  const roles = objectAt(pool, "connections");
  for (const role of ["command", "subscriber", "lease"]) show(`pool-role-${role}`, numberAt(roles, role));

  const sessions = objectAt(data, "sessions");
  const open = numberAt(sessions, "open");
  show("pool-sessions", open);
  show("pool-opened", numberAt(sessions, "opened"));
  show("pool-clients", numberAt(objectAt(data, "redis_server"), "connected_clients"));
  const drift = objectAt(data, "drift");
  // A mock, or a server that does not tell, gives nothing to compare with.
  show("pool-drift", drift === undefined ? "not known" : drift["found"] === true ? "found" : "none");
  showHeadline(
    open,
    countsOf(roles).reduce((sum, [, count]) => sum + count, 0),
  );

  const closed = countsOf(objectAt(sessions, "closed")).filter(([, count]) => count > 0);
  byId("pool-closed-none", HTMLElement).hidden = closed.length > 0;
  showList(
    "pool-closed",
    closed.map(([reason, count]) => `${reason} ${count}`),
    (text) => {
      const cut = text.lastIndexOf(" ");
      return el("li", { class: "tag" }, text.slice(0, cut), el("b", {}, text.slice(cut + 1)));
    },
  );

  const pubsub = objectAt(data, "pubsub");
  const channels = listAt(pubsub, "channels").map(String).toSorted();
  const shown = channels.slice(0, CHANNELS_SHOWN);
  if (channels.length > shown.length) shown.push(`and ${channels.length - shown.length} more`);
  show("pool-channel-count", numberAt(pubsub, "active_channels") ?? channels.length);
  byId("pool-channels-none", HTMLElement).hidden = channels.length > 0;
  showList("pool-channels", shown, (text) => el("li", {}, text));
}

/** What the pool is for, in one line: streams do not cost a Redis connection each. */
function showHeadline(open: number | undefined, connections: number): void {
  if (open === undefined || connections === 0) return;
  const streams = open === 0 ? "No open streams" : plural(open, "open stream");
  const verb = open === 0 ? "on" : open === 1 ? "uses" : "share";
  show("pool-headline", `${streams} ${verb} ${plural(connections, "Redis connection")}.`);
}

/** Which Redis this is, in the server's words. */
export async function showRedis(): Promise<void> {
  try {
    const redis = stringAt(await call("GET", "/healthz"), "redis");
    if (redis !== undefined) show("redis-name", redis);
  } catch {
    // The connection's pill says already that the server is away; the last name stays.
  }
}

export function startPoolPanel(): void {
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
    // A hidden tab asks for nothing, and a refused token is not tried again by itself.
    if (asking || refused || document.hidden) return;
    asking = true;
    try {
      const answer = await call("GET", "/api/notifications/debug/redis_pool", { token: operatorToken() });
      showPool(objectAt(answer, "data"));
      setState("live", "every 2 s");
    } catch (error) {
      // A token no header can carry fails before it is sent: to ask again without another token is no use either.
      refused = !(error instanceof ApiError) || error.status === 401;
      if (refused) setState("locked", "locked");
      else setState("stale", `no news: ${messageOf(error)}`);
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
}
