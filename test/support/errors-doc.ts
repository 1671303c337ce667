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

This page lists every error code and what to do about it, every close reason, and the events that monitoring tools can subscribe
to. In code, \`errorCatalogue[code]\` and \`closeReasonCatalogue[reason]\` of \`redis-sse\` have the same tables.

<!-- Written by \`npm run docs\` from lib/error-catalogue.ts, lib/close-reasons.ts and lib/diagnostics.ts. -->

## Errors

Every error of this library is a \`RedisSseError\`. Its \`code\` is stable between releases; its \`message\` is not. \`retryable\` says
whether the same call may succeed later without a change. No message holds a password, a host or a user's data.

\`\`\`js
import { RedisSseError } from "redis-sse";

try {
  await sse.publish("news", { data: 1 });
} catch (error) {
  if (error instanceof RedisSseError && error.retryable) publishLater();
  else throw error;
}
\`\`\`

If a request for a stream fails, the answer is one of the two below. \`HEADERS_SENT\`, and every error that your resolver
throws, goes to \`next(err)\` instead.

- If the code has a status in this table, the answer has that status and the JSON body \`{ error: { code, message } }\`; 204 and
  answers to HEAD have no body. An EventSource does not reconnect.
- Otherwise the answer is a stream with an \`error\` event \`{ code, message }\`. Then the stream ends, and an EventSource reconnects.
  With the option \`onUnavailable: "status"\`, the answer is 503 with \`Retry-After\` instead. With \`onLimit: "status"\`,
  \`LIMIT_SESSIONS_PER_KEY\` is answered 429.

\`REDIS_REFUSED\` is retryable if Redis' own code is \`READONLY\`, \`LOADING\`, \`MASTERDOWN\`, \`NOREPLICAS\`, \`BUSY\` or \`OOM\`. An
\`error\` event can also have the code \`BROKEN\`: the writer of the channel was lost before it completed the channel.

| code | meaning | what to do | status | retryable |
| --- | --- | --- | --- | --- |`;

const REASONS = `## Close reasons

\`session.closeReason\` and \`status()\` use these reasons. "told" says whether the client gets the event \`closing\` with \`{ reason }\`.
"reconnect" says whether the client should connect again; an EventSource does so by itself. After \`completed\` and \`broken\`, a
client that reconnects is answered 204, which stops an EventSource.

| reason | meaning | told | reconnect |
| --- | --- | --- | --- |`;

const EVENTS = `## Events for monitoring

A monitoring tool can subscribe to these channels of \`node:diagnostics_channel\`. Without a subscriber, they cost
nothing. If a subscriber throws, Node reports it as an uncaught exception. The type
\`DiagnosticEvents\` of \`redis-sse\` has the shape of each message: \`message as DiagnosticEvents["redis-sse:gap"]\` in TypeScript.

\`\`\`js
import diagnostics from "node:diagnostics_channel";

diagnostics.subscribe("redis-sse:session:close", ({ sessionId, reason }) => console.log(sessionId, reason));
\`\`\`

| channel | message |
| --- | --- |`;

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(errorsDoc, await renderErrors());
