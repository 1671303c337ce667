import { byId, el, icon, userText } from "./dom.js";

const SHOWN = 3;
const STAYS_MS = 6_000;

/** A short message at the page's edge, which leaves by itself unless somebody points at it or has the focus in it. */
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

/** The list tells the same, and better. */
export function dismissNotificationToasts(): void {
  for (const item of document.querySelectorAll('.toast[data-kind="notification"]')) item.remove();
}
