import { call, messageOf } from "./api.js";
import { byId, field, showResult } from "./dom.js";
import { checkFields } from "./fields.js";

const EXAMPLES: readonly (readonly [string, string])[] = [
  ["Your export is ready", "orders-2024.csv, 18 402 rows"],
  ["New comment on “Launch plan”", "Looks good to me. Can we ship it on Thursday?"],
  ["Payment received", "Invoice 1042 has been paid in full."],
  ["Deploy finished", "api-gateway is live in all three regions."],
];

export function createSendForm(user: string): void {
  const form = byId("send-form", HTMLFormElement);
  const to = byId("send-user", HTMLInputElement);
  const title = byId("send-title", HTMLInputElement);
  const body = byId("send-body", HTMLTextAreaElement);
  const button = byId("send-button", HTMLButtonElement);
  const result = byId("send-result", HTMLElement);
  let example = 0;

  function fillExample(): void {
    [title.value, body.value] = EXAMPLES[example % EXAMPLES.length] ?? ["", ""];
  }

  // After sending, an unchanged example is replaced by the next one. The user's own text is cleared.
  function next(): void {
    const [exampleTitle, exampleBody] = EXAMPLES[example % EXAMPLES.length] ?? ["", ""];
    if (title.value === exampleTitle && body.value === exampleBody) {
      example += 1;
      fillExample();
    } else {
      title.value = "";
      body.value = "";
    }
  }

  async function send(): Promise<void> {
    showResult(result, "ok", "");
    if (!checkFields(form)) return;
    const userId = field(form, "userId");
    button.disabled = true;
    try {
      await call("POST", "/api/notifications", {
        body: { userId, title: field(form, "title"), body: field(form, "body") },
      });
      showResult(result, "ok", `Sent to ${userId}.`);
      next();
    } catch (error) {
      showResult(result, "error", messageOf(error));
    } finally {
      button.disabled = false;
    }
  }

  to.value = user;
  fillExample();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void send();
  });
}
