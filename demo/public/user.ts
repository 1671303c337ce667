import { byId, el, icon, userText } from "./dom.js";

const PEOPLE = ["alice", "bob", "carol"];

/** Who this tab is, by its address. The demo has no login: a product would take the user from its own. */
export function currentUser(): string {
  return new URLSearchParams(location.search).get("user")?.trim() || "alice";
}

/** One of the other people, for texts that suggest to try it with two tabs. */
export function somebodyElse(user: string): string {
  return PEOPLE.find((person) => person !== user) ?? "bob";
}

function linkTo(user: string): HTMLAnchorElement {
  return el(
    "a",
    {
      class: "user-link",
      href: `/?user=${encodeURIComponent(user)}`,
      target: "_blank",
      rel: "noopener",
      "aria-label": `Open as ${user} in a new tab`,
    },
    user,
    icon("arrow"),
  );
}

export function showUser(user: string): void {
  byId("user-name", HTMLElement).replaceChildren(userText(user));
  byId("user-initial", HTMLElement).textContent = (Array.from(user)[0] ?? "?").toUpperCase();
  byId("user-links", HTMLElement).replaceChildren(
    ...PEOPLE.filter((person) => person !== user)
      .slice(0, 2)
      .map((person) => el("li", {}, linkTo(person))),
  );
}
