/** Writes the tables of `docs/errors.md` from the catalogues. Run by `npm run docs`. */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { format } from "prettier";

import { closeReasonCatalogue } from "../../lib/catalogue/close-reasons.js";
import { diagnosticCatalogue } from "../../lib/catalogue/diagnostics.js";
import { errorCatalogue } from "../../lib/catalogue/error-catalogue.js";

export const errorsDoc: string = fileURLToPath(new URL("../../../docs/errors.md", import.meta.url));

/** The required text of the file. Each table has one row per entry of its catalogue. */
export function renderErrors(): Promise<string> {
  const rows: Readonly<Record<string, readonly string[]>> = {
    code: Object.entries(errorCatalogue).map(([code, { meaning, action, status, retryable }]) =>
      row(
        `\`${code}\``,
        meaning,
        action,
        status === undefined ? "" : String(status),
        code === "REDIS_REFUSED" ? "see above" : retryable ? "yes" : "",
      ),
    ),
    reason: Object.entries(closeReasonCatalogue).map(([reason, { meaning, told, reconnect }]) =>
      row(`\`${reason}\``, meaning, told ? "yes" : "no", reconnect ? "yes" : "no"),
    ),
    channel: Object.entries(diagnosticCatalogue).map(([name, says]) => row(`\`${name}\``, says)),
  };
  const text = Object.entries(rows).reduce(
    (before, [name, own]) => {
      const table = new RegExp(`(?<=^\\| ${name} .*\\n\\|[ |-]+\\n)(?:\\|.*\\n)+`, "m");
      if (!table.test(before)) throw new Error(`no table of ${name} in ${errorsDoc}`);
      return before.replace(table, () => `${own.join("\n")}\n`);
    },
    readFileSync(errorsDoc, "utf8"),
  );
  return format(text, { parser: "markdown", printWidth: 128, proseWrap: "preserve" });
}

function row(...cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(errorsDoc, await renderErrors());
