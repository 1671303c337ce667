/** Components for the page and for the server. */

import { createElement, type ReactElement, type ReactNode } from "react";

import type { StreamUrl } from "redis-sse/client";
import { useStream, useTask, useTextStream } from "redis-sse/react";

export interface ViewProps {
  readonly url: string | null;
  readonly cancelUrl?: string;
  /** Passes a new function to the hook at each render. It returns `url` with the version. */
  readonly isFunction?: boolean;
  /** A value that handlers of this render report. */
  readonly version?: number;
}

/** What a page reports to its test. The server has no such values. */
interface Reports {
  renders?: number;
  handled?: string[];
}

const reports = globalThis as Reports;

/** What a view passes to its hook. */
function urlOf({ url, isFunction = false, version = 0 }: ViewProps): StreamUrl | null {
  if (url === null || !isFunction) return url;
  return () => Promise.resolve(`${url}${url.includes("?") ? "&" : "?"}version=${version}`);
}

const field = (id: string, value: unknown): ReactNode => createElement("p", { id }, String(value));

function StreamView(props: ViewProps): ReactElement {
  const { version = 0 } = props;
  reports.renders = (reports.renders ?? 0) + 1;
  const tell = (text: string): void => void (reports.handled ??= []).push(`${version} ${text}`);
  const { status, lastMessage, connection } = useStream<{ count: number }>(urlOf(props), {
    on: { count: (count) => tell(`count ${count}`) },
    onGap: ({ reason }) => tell(`gap ${reason}`),
  });
  return createElement(
    "main",
    null,
    field("status", status.state),
    field("last", lastMessage === null ? "none" : `${lastMessage.event} ${lastMessage.text}`),
    field("connection", connection !== null),
  );
}

function TaskView(props: ViewProps): ReactElement {
  const task = useTask(urlOf(props), { cancelUrl: props.cancelUrl });
  return createElement(
    "main",
    null,
    field("status", task.status),
    field("progress", task.progress),
    field("message", task.message),
    field("output", task.output),
    field("error", task.error),
    field("connection", task.connection.state),
    createElement("button", { onClick: () => void task.cancel() }, "Cancel"),
  );
}

function TextView(props: ViewProps): ReactElement {
  const { text, isDone, status, error } = useTextStream(urlOf(props));
  return createElement(
    "main",
    null,
    field("text", text),
    field("done", isDone),
    field("status", status.state),
    field("error", error),
  );
}

export type View = "StreamView" | "TaskView" | "TextView";

export const VIEWS: Readonly<Record<View, (props: ViewProps) => ReactElement>> = {
  StreamView,
  TaskView,
  TextView,
};
