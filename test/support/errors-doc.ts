/** Writes `docs/errors.md` from the catalogues. Run by `npm run docs`. */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { format } from "prettier";

import { closeReasonCatalogue } from "../../lib/close-reasons.js";
import { diagnosticCatalogue } from "../../lib/diagnostics.js";
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
  const events = Object.entries(diagnosticCatalogue).map(([name, says]) => row(`\`${name}\``, says));
  const parts = [INTRODUCTION, ...errors, "", REASONS, ...reasons, "", EVENTS, ...events, ""];
  return format(parts.join("\n"), {
    parser: "markdown",
    printWidth: 128,
    proseWrap: "preserve",
  });
}

function row(...cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}

const INTRODUCTION = `# Errors, close reasons and events for monitoring

This page lists every error code with what to do, every close reason, and what tools can subscribe to. It is written from
\`lib/error-catalogue.ts\`, \`lib/close-reasons.ts\` and \`lib/diagnostics.ts\` by \`npm run docs\`: change those files, not this one.

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

const EVENTS = `## Events for monitoring

A tool subscribes to these channels of \`node:diagnostics_channel\`. They cost nothing without a subscriber. If a subscriber throws, Node
reports it as an uncaught exception. The type \`DiagnosticEvents\` has the shape of each message.

\`\`\`js
import diagnostics from "node:diagnostics_channel";

diagnostics.subscribe("redis-sse:session:close", ({ sessionId, reason }) => console.log(sessionId, reason));
\`\`\`

| channel | message |
| --- | --- |`;

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(errorsDoc, await renderErrors());
