import { el } from "./dom.js";

/** Shows a hint below each invalid field and focuses the first one. Returns true if all fields are valid. */
export function checkFields(form: HTMLFormElement): boolean {
  let first: HTMLElement | undefined;
  for (const input of form.querySelectorAll<HTMLInputElement>("input, textarea")) {
    const wish = wishFor(input);
    showWish(input, wish);
    if (wish !== undefined) first ??= input;
  }
  first?.focus();
  return first === undefined;
}

/** Returns the hint for an invalid field. The rules are in the HTML. */
function wishFor(input: HTMLInputElement): string | undefined {
  // Writing to a number input deletes text that is not a number.
  if (input.type !== "number") input.value = input.value.trim();
  const { validity, value, dataset } = input;
  if (validity.valueMissing) return dataset["enter"];
  // `maxlength` is not used, because it silently cuts off pasted text.
  if (value.length > Number(dataset["max"])) return `at most ${dataset["max"]} characters`;
  if (validity.patternMismatch) return input.title;
  if (!validity.valid) return `a whole number from ${input.min} to ${input.max}`;
  return undefined;
}

function showWish(input: HTMLInputElement, wish: string | undefined): void {
  const id = `${input.id}-wish`;
  document.getElementById(id)?.remove();
  if (wish === undefined) {
    input.removeAttribute("aria-invalid");
    input.removeAttribute("aria-describedby");
    return;
  }
  input.after(el("p", { class: "wish", id }, `${input.labels?.[0]?.textContent}: enter ${wish}`));
  input.setAttribute("aria-invalid", "true");
  input.setAttribute("aria-describedby", id);
  input.addEventListener("input", () => showWish(input, undefined), { once: true });
}
