/** The few things the page needs of the DOM. Text always goes in as text nodes, so no input is ever parsed as HTML. */

const SVG = "http://www.w3.org/2000/svg";

/** The element of that id, of that class; a page without it is a bug, so it throws. */
export function byId<T extends Element>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`The page has no ${type.name} #${id}`);
  return found;
}

export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, string>> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Text that a person wrote. It may hold marks that turn the direction of writing: they end where the text ends. */
export function userText(text: string): HTMLElement {
  return el("bdi", {}, text);
}

/** One of the symbols at the top of index.html. Icons are decoration: the text beside them says the same. */
export function icon(name: string): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** Writes only a changed text, so that live regions do not announce the same text again. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** A field's text, trimmed; "" when the form has no such field. */
export function field(form: HTMLFormElement, name: string): string {
  const value = new FormData(form).get(name);
  return typeof value === "string" ? value.trim() : "";
}

/** The result of a form: shown beside its button, and announced. */
export function showResult(output: HTMLElement, state: "ok" | "error", text: string): void {
  output.dataset["state"] = state;
  setText(output, text);
}
