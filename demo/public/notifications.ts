import { call } from "./api.js";
import { byId, el, setText, userText } from "./dom.js";
import { asObject, listAt, parse, stringAt } from "./json.js";
import { showTime } from "./time.js";
import { dismissNotificationToasts, toast } from "./toasts.js";

export interface Notification {
  readonly id: string;
  readonly title: string;
  readonly body: string;
  readonly createdAt: string;
}

export interface Bell {
  /** Adds a notification from the stream. */
  readonly arrived: (notification: Notification) => void;
  /** Loads the list from the server, after a connect, a reconnect or a gap. */
  readonly load: () => Promise<void>;
}

const KEPT = 100;
const CLOCK_MS = 15_000;

export function asNotification(data: unknown): Notification | undefined {
  const object = asObject(data);
  const id = stringAt(object, "id");
  const title = stringAt(object, "title");
  if (id === undefined || title === undefined) return undefined;
  return {
    id,
    title,
    body: stringAt(object, "body") ?? "",
    createdAt: stringAt(object, "createdAt") ?? "",
  };
}

function row(notification: Notification, read: boolean): HTMLLIElement {
  const time = el("time", { datetime: notification.createdAt });
  showTime(time);
  return el(
    "li",
    {
      class: "notification",
      "data-testid": "notification",
      "data-id": notification.id,
      "data-read": String(read),
    },
    el(
      "div",
      { class: "notification-head" },
      el("p", { class: "notification-title" }, userText(notification.title)),
      time,
    ),
    ...(notification.body === ""
      ? []
      : [el("p", { class: "notification-body" }, userText(notification.body))]),
  );
}

/** The bell, its count and its list. */
export function createBell(user: string): Bell {
  const bell = byId("bell", HTMLButtonElement);
  const count = byId("unread-count", HTMLElement);
  const panel = byId("notifications", HTMLElement);
  const list = byId("notification-list", HTMLUListElement);
  const empty = byId("notifications-empty", HTMLElement);
  const pageTitle = document.title;

  // Read notifications are stored only in this browser. All tabs of the same user share them.
  const storageKey = `redis-sse-demo:read:${user}`;
  const stored = parse(localStorage.getItem(storageKey));
  const read = new Set<unknown>(Array.isArray(stored) ? stored : []);
  let newestFirst: readonly Notification[] = [];

  function isOpen(): boolean {
    return panel.matches(":popover-open");
  }

  function merge(some: readonly Notification[]): void {
    const known = new Set(some.map((each) => each.id));
    newestFirst = [...some, ...newestFirst.filter((each) => !known.has(each.id))]
      .toSorted((a, b) => (Date.parse(b.createdAt) || 0) - (Date.parse(a.createdAt) || 0))
      .slice(0, KEPT);
  }

  function showCount(): void {
    const unread = newestFirst.filter((each) => !read.has(each.id)).length;
    setText(count, unread > 99 ? "99+" : String(unread));
    count.hidden = unread === 0;
    bell.setAttribute("aria-label", unread === 0 ? "Notifications" : `Notifications, ${unread} unread`);
    document.title = unread === 0 ? pageTitle : `(${unread}) ${pageTitle}`;
  }

  function showList(): void {
    list.replaceChildren(...newestFirst.map((each) => row(each, read.has(each.id))));
    empty.hidden = newestFirst.length > 0;
  }

  function markAllRead(): void {
    for (const { id } of newestFirst) read.add(id);
    const kept = newestFirst.filter((each) => read.has(each.id)).map((each) => each.id);
    localStorage.setItem(storageKey, JSON.stringify(kept));
    showCount();
  }

  function show(): void {
    showList();
    // Unread marks stay visible until the list is closed.
    if (isOpen()) markAllRead();
    else showCount();
  }

  panel.addEventListener("toggle", () => {
    if (isOpen()) {
      markAllRead();
      dismissNotificationToasts();
    } else {
      showList();
    }
  });
  addEventListener("storage", (event) => {
    if (event.key !== storageKey) return;
    const ids = parse(event.newValue);
    if (Array.isArray(ids)) for (const id of ids) read.add(id);
    show();
  });
  setInterval(() => {
    for (const time of list.querySelectorAll("time")) showTime(time);
  }, CLOCK_MS);

  return {
    arrived(notification) {
      // After a reconnect, the server can send a notification that is already in the list.
      if (newestFirst.some((each) => each.id === notification.id)) return;
      merge([notification]);
      show();
      if (!isOpen()) toast("notification", notification.title, notification.body);
    },

    async load() {
      const answer = await call("GET", `/api/notifications?user=${encodeURIComponent(user)}`);
      merge(
        listAt(answer, "notifications")
          .map(asNotification)
          .filter((each) => each !== undefined),
      );
      show();
    },
  };
}
