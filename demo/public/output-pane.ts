import { el, setText, userText } from "./dom.js";
import type { Output } from "./tasks.js";

const MAX_LINES = 400;
const MAX_TEXT = 20_000;

/** Live output of a task: text, log lines and headings of new attempts. */
export class OutputPane {
  readonly root: HTMLDetailsElement;
  readonly summary: HTMLElement = el("summary", {}, "Output");
  readonly #text: HTMLElement;
  #opened = false;

  /** Calls `onEmptyOpened` if the user opens the pane and it has no output yet. */
  constructor(name: string, onEmptyOpened: () => void) {
    this.#text = el("div", {
      class: "output-text",
      "data-testid": "task-output",
      role: "region",
      tabindex: "0",
      "aria-label": `Output of ${name}`,
    });
    this.root = el("details", { class: "output" }, this.summary, this.#text);
    this.root.addEventListener("toggle", () => {
      if (this.root.open && this.#text.childElementCount === 0) onEmptyOpened();
    });
  }

  /** Opens the pane on the first call only, so that a pane closed by the user stays closed. */
  unfold(): void {
    if (this.#opened) return;
    this.#opened = true;
    this.root.open = true;
  }

  clear(): void {
    this.#text.replaceChildren();
  }

  write(output: Output): void {
    const { scrollTop, scrollHeight, clientHeight } = this.#text;
    const follows = scrollHeight - scrollTop - clientHeight < 24;
    this.#append(output);
    while (this.#text.childElementCount > MAX_LINES) this.#text.firstElementChild?.remove();
    // Does not scroll if the user has scrolled up to read.
    if (follows) this.#text.scrollTop = this.#text.scrollHeight;
  }

  #append(output: Output): void {
    if (output.type === "attempt") {
      this.#text.append(el("p", { class: "output-attempt" }, `Attempt ${output.attempt}`));
      return;
    }
    const last = this.#text.lastElementChild;
    if (output.type === "log") this.#text.append(el("p", { class: "output-log" }, userText(output.text)));
    else if (last?.className !== "output-chunk") {
      this.#text.append(el("p", { class: "output-chunk" }, userText(output.text)));
    } else setText(last.firstElementChild!, (last.textContent + output.text).slice(-MAX_TEXT));
  }
}
