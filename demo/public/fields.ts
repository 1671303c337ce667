import { el } from "./dom.js";

/** Shows below each field what to enter, and moves the focus to the first such field. True if the form can be sent. */
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

/** What to enter into a field instead of its value. The rules are in the HTML. */
function wishFor(input: HTMLInputElement): string | undefined {
  // An input of numbers loses what it cannot read when it is written to.
  if (input.type !== "number") input.value = input.value.trim();
  const { validity, value, dataset } = input;
  if (validity.valueMissing) return dataset["enter"];
  // Not `maxlength`, which cuts a pasted text without a word.
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
