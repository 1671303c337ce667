/** Writes `docs/errors.md` from the catalogues. Run by `npm run docs`. */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { format } from "prettier";

import { closeReasonCatalogue } from "../../lib/close-reasons.js";
import { errorCatalogue } from "../../lib/error-catalogue.js";

export const errorsDoc: string = fileURLToPath(new URL("../../../docs/errors.md", import.meta.url));

/** The text that the file must have. */
export function renderErrors(): Promise<string> {
  const errors = Object.entries(errorCatalogue).map(([code, { meaning, action, status, retryable }]) =>
    row(`\`${code}\``, meaning, action, status === undefined ? "" : String(status), retryable ? "yes" : ""),
  );
  const reasons = Object.entries(closeReasonCatalogue).map(([reason, { meaning, told, reconnect }]) =>
    row(`\`${reason}\``, meaning, told ? "yes" : "no", reconnect ? "yes" : "no"),
  );
  return format([INTRODUCTION, ...errors, "", REASONS, ...reasons, ""].join("\n"), {
    parser: "markdown",
    printWidth: 128,
    proseWrap: "preserve",
  });
}

function row(...cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}

const INTRODUCTION = `# Errors and close reasons

This page lists every error code and every close reason, with what to do. It is written from \`lib/error-catalogue.ts\` and
\`lib/close-reasons.ts\` by \`npm run docs\`: change those files, not this one.

## Errors

Every error of this library is a \`RedisSseError\`. Its \`code\` is stable between releases, its \`message\` is not. \`retryable\` says
whether the same call may succeed later without a change. No message holds a password, a host or a user's data.

A request for a stream that fails is answered in one of two ways:

- The code has a status below: the answer has that status and a JSON body \`{ error: { code, message } }\`. An EventSource gives up.
- Otherwise the answer is a stream with an \`error\` event \`{ code, message }\`, after which it ends, and an EventSource comes back.
  With the option \`onUnavailable: "status"\` it is 503 with \`Retry-After\` instead. With \`onLimit: "status"\`,
  \`LIMIT_SESSIONS_PER_KEY\` is 429.

\`REDIS_REFUSED\` is retryable if Redis' own code is \`READONLY\`, \`LOADING\`, \`MASTERDOWN\`, \`NOREPLICAS\`, \`BUSY\` or \`OOM\`. An
\`error\` event can also have the code \`BROKEN\`: the writer of the channel was lost before its end.

| code | meaning | what to do | status | retryable |
| --- | --- | --- | --- | --- |`;

const REASONS = `## Close reasons

\`session.closeReason\` and \`status()\` have one of these. "told": the client gets it in the event \`closing\` as \`{ reason }\`. "reconnect":
the client should connect again; an EventSource does so by itself. After \`completed\` and \`broken\`, a client that comes back is
answered 204, which stops an EventSource.

| reason | meaning | told | reconnect |
| --- | --- | --- | --- |`;

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(errorsDoc, await renderErrors());
