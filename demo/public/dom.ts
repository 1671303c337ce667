/** DOM helpers. All text is inserted as text nodes, so user input is never parsed as HTML. */

const SVG = "http://www.w3.org/2000/svg";

/** Returns the element with this id. Throws if it is missing or has another class. */
export function byId<T extends Element>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`The page has no ${type.name} with id "${id}".`);
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

/** Wraps user text, so that bidirectional control characters in it do not change the text around it. */
export function userText(text: string): HTMLElement {
  return el("bdi", {}, text);
}

/** An icon from the symbols in index.html. Screen readers skip it and read the text beside it. */
export function icon(name: string): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** Writes only changed text, so that screen readers do not announce the same text again. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Returns the trimmed text of a field, or "" if the form has no field with this name. */
export function field(form: HTMLFormElement, name: string): string {
  const value = new FormData(form).get(name);
  return typeof value === "string" ? value.trim() : "";
}

/** Shows the result of a form. Screen readers announce it. */
export function showResult(output: HTMLElement, state: "ok" | "error", text: string): void {
  output.dataset["state"] = state;
  setText(output, text);
}
