import { byId, el, icon, userText } from "./dom.js";

const PEOPLE = ["alice", "bob", "carol"];

/** The same rule as on the server, in demo/input.ts. */
export const USER_NAME_RULE = "Use 1 to 64 characters: A-Z a-z 0-9 _ . @ -";

export function isUserName(user: string): boolean {
  return /^[\w.@-]{1,64}$/.test(user);
}

/** Reads the user from the page's address. The demo has no login. A real application takes the user from its login. */
export function currentUser(): string {
  return new URLSearchParams(location.search).get("user")?.trim() || "alice";
}

/** Another example user, for the hint about a second tab. */
export function otherUser(user: string): string {
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
