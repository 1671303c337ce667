import { ApiError, call, messageOf } from "./api.js";
import { byId, el, setText, showResult, userText } from "./dom.js";
import { asObject, listAt, numberAt, stringAt, type JsonObject } from "./json.js";
import { onOperatorToken, operatorToken } from "./operator-token.js";
import { nameOf } from "./task-names.js";
import { showTime } from "./time.js";

export interface DeadLetters {
  /** Loads the list. Calls during a request cause one more request after it. */
  readonly load: () => void;
}

type Action = "requeue" | "purge";

const DONE: Readonly<Record<Action, string>> = { requeue: "requeued", purge: "purged" };

/** The list of dead letters, with buttons that requeue or purge them. */
export function createDeadLetters(): DeadLetters {
  const list = byId("dead-letter-list", HTMLUListElement);
  const empty = byId("dead-letters-empty", HTMLElement);
  const hint = byId("dead-letters-hint", HTMLElement);
  const all = byId("dead-letters-all", HTMLElement);
  const result = byId("dead-letters-result", HTMLElement);
  const title = byId("dead-letters-title", HTMLElement);
  let loading = false;
  let again = false;

  async function act(action: Action, ids: "all" | string[]): Promise<void> {
    try {
      const answer = await call("POST", `/api/dead-letters/${action}`, { body: { ids } });
      const count = numberAt(answer, action === "requeue" ? "requeued" : "purged") ?? 0;
      showResult(result, "ok", `${count} ${count === 1 ? "task" : "tasks"} ${DONE[action]}.`);
    } catch (error) {
      showResult(result, "error", messageOf(error));
    }
    await load();
    // The focus is lost if the button was removed with its row.
    if (document.activeElement === document.body) title.focus();
  }

  function button(action: Action, id: string, name: string): HTMLButtonElement {
    const label = action === "requeue" ? "Requeue" : "Purge";
    const made = el(
      "button",
      { type: "button", class: "button small", "aria-label": `${label} ${name}`, "data-action": action },
      label,
    );
    made.addEventListener("click", () => void act(action, [id]));
    return made;
  }

  function row(letter: JsonObject, id: string): HTMLLIElement {
    const name = nameOf({ kind: stringAt(letter, "kind") ?? "task" });
    const shortId = id.slice(0, 8);
    const attempt = numberAt(letter, "attempt") ?? 0;
    const time = el("time", { datetime: stringAt(letter, "finishedAt") ?? "" });
    showTime(time);
    const error = stringAt(letter, "error");
    return el(
      "li",
      { class: "dead-letter", "data-testid": "dead-letter", "data-task-id": id },
      el(
        "p",
        { class: "dead-letter-head" },
        el("strong", {}, userText(name)),
        " ",
        el("code", { class: "task-id", title: id }, shortId),
      ),
      el(
        "p",
        { class: "dead-letter-note" },
        userText(stringAt(letter, "message") ?? ""),
        `, after ${attempt} ${attempt === 1 ? "attempt" : "attempts"}, `,
        time,
      ),
      ...(error === undefined
        ? []
        : [el("p", { class: "dead-letter-error", "data-testid": "dead-letter-error" }, userText(error))]),
      el(
        "div",
        { class: "buttons" },
        button("requeue", id, `${name} ${shortId}`),
        button("purge", id, `${name} ${shortId}`),
      ),
    );
  }

  function show(answer: JsonObject): void {
    const letters = listAt(answer, "tasks").flatMap((each) => {
      const letter = asObject(each);
      const id = stringAt(letter, "id");
      return letter === undefined || id === undefined ? [] : [{ letter, id }];
    });
    const shown = JSON.stringify(answer);
    // Unchanged rows stay, so that their buttons keep the focus.
    if (list.dataset["shown"] !== shown) {
      list.dataset["shown"] = shown;
      list.replaceChildren(...letters.map(({ letter, id }) => row(letter, id)));
    }
    for (const time of list.querySelectorAll("time")) showTime(time);
    setText(byId("dead-letters-count", HTMLElement), String(letters.length));
    list.hidden = letters.length === 0;
    empty.hidden = letters.length > 0;
    all.hidden = letters.length < 2;
    hint.hidden = letters.length === 0 || answer["operator"] === true;
  }

  async function load(): Promise<void> {
    again = loading;
    if (loading) return;
    loading = true;
    try {
      show(await ask());
    } catch {
      // The connection pill already shows the failure. The next change loads the list again.
    } finally {
      loading = false;
    }
    if (again) await load();
  }

  for (const action of ["requeue", "purge"] as const) {
    byId(`${action}-all`, HTMLButtonElement).addEventListener("click", () => void act(action, "all"));
  }
  onOperatorToken(() => void load());

  return { load: () => void load() };
}

let refused: string | undefined;

/** Loads dead letters, with errors if the server accepts the operator token. A rejected token is not sent again. */
async function ask(): Promise<JsonObject> {
  const path = "/api/dead-letters";
  const token = operatorToken();
  if (token === refused) return call("GET", path);
  try {
    return await call("GET", path, { token });
  } catch (error) {
    // If the token has characters that a header cannot carry, fetch() throws another error.
    if (error instanceof ApiError && error.status !== 401) throw error;
    refused = token;
    return call("GET", path);
  }
}
