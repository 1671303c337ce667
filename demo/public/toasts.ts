import { byId, el, icon, userText } from "./dom.js";

const SHOWN = 3;
const STAYS_MS = 6_000;

/** Shows a short message at the edge of the page. It disappears after 6 s, unless the pointer or the focus is on it. */
export function toast(kind: "notification" | "fault", title: string, body: string): void {
  const shelf = byId("toasts", HTMLElement);
  const close = el(
    "button",
    { type: "button", class: "toast-close", "aria-label": "Dismiss" },
    icon("close"),
  );
  const item = el(
    "div",
    { class: "toast", "data-kind": kind, "data-testid": "toast" },
    el("span", { class: "toast-icon" }, icon(kind === "fault" ? "alert" : "bell")),
    el(
      "div",
      { class: "toast-text" },
      el("p", { class: "toast-title" }, userText(title)),
      ...(body === "" ? [] : [el("p", { class: "toast-body" }, userText(body))]),
    ),
    close,
  );
  close.addEventListener("click", () => item.remove());

  function leave(): void {
    if (item.matches(":hover, :focus-within")) setTimeout(leave, STAYS_MS / 3);
    else item.remove();
  }
  setTimeout(leave, STAYS_MS);

  shelf.append(item);
  while (shelf.childElementCount > SHOWN) shelf.firstElementChild?.remove();
}

/** Removes toasts of notifications that the open list already shows. */
export function dismissNotificationToasts(): void {
  for (const item of document.querySelectorAll('.toast[data-kind="notification"]')) item.remove();
}
