import { expect } from "chai";

import { Project } from "./project.js";

/** The names that can be imported at run time. Every other public name is a type. */
const NAMES: Readonly<Record<string, readonly string[]>> = {
  "redis-sse": [
    "ConfigError",
    "NotificationService",
    "PoolExhaustedError",
    "PubSubSession",
    "QueueService",
    "RedisSseError",
    "TaskFailure",
    "closeReasonCatalogue",
    "createRedisSse",
    "errorCatalogue",
    "progressChannel",
  ],
  "redis-sse/adapter": [
    "COMPLETED_ID",
    "answerTo",
    "assertOptions",
    "assertStreamOptions",
    "isFinished",
    "optionError",
    "progressOf",
    "readKey",
    "readReconnectMs",
    "serveStream",
    "streamHead",
  ],
  "redis-sse/client": ["connect", "createFetchSource", "defineEvents"],
  "redis-sse/react": ["useStream", "useTask", "useTextStream"],
  "redis-sse/testing": ["FakeClock", "TestRedis", "collect", "createTestSse"],
  "redis-sse/express": [
    "bearerAuth",
    "defaultService",
    "redisPoolStatus",
    "sseStream",
    "taskCancel",
    "taskStream",
    "ticketResolver",
  ],
};

/** The oldest version of each Node.js line that `engines` in package.json allows. */
const NODES = ["20.19.0", "22.12.0", "24.0.0"];

/** Prints the exports of each entry, and the exports that differ between `require()` and `import()`. */
const LOAD = `
const entries = ${JSON.stringify(Object.keys(NAMES))};
Promise.all(entries.map(async (entry) => {
  const required = require(entry);
  const imported = await import(entry);
  const names = Object.keys(imported).sort();
  return [entry, { names, copies: names.filter((name) => required[name] !== imported[name]) }];
})).then((all) => console.log(JSON.stringify(Object.fromEntries(all))));
`;

const JEST = `
const { ConfigError, createRedisSse } = require("redis-sse");
const { answerTo } = require("redis-sse/adapter");
const { connect } = require("redis-sse/client");
const { sseStream } = require("redis-sse/express");
const { useStream, useTask, useTextStream } = require("redis-sse/react");
const { createTestSse } = require("redis-sse/testing");
const { createElement } = require("react");
const { renderToString } = require("react-dom/server");

test("redis-sse works", async () => {
  expect(() => createRedisSse({ heartbeatMs: -1 })).toThrow(ConfigError);
  expect(answerTo(new ConfigError("wrong"))).toMatchObject({ status: 500 });
  expect(sseStream(() => "news")).toBeInstanceOf(Function);
  expect(() => connect("no URL")).toThrow(TypeError);
  const View = () => [
    useStream(() => "/events").status.state,
    useTask(null).connection.reason,
    useTextStream("/answer").status.state,
  ].join();
  expect(renderToString(createElement(View))).toBe("connecting,no-url,connecting");
  const sse = createTestSse();
  expect(await sse.publish("news", { data: 1 })).toMatchObject({ id: expect.any(String) });
  await sse.close();
});
`;

const OLD_TYPESCRIPT = `
import express from "express";
import { ConfigError, createRedisSse } from "redis-sse";
import { answerTo, type Sink } from "redis-sse/adapter";
import { connect, type StreamConnection } from "redis-sse/client";
import { sseStream } from "redis-sse/express";
import { useStream, useTask, useTextStream, type TaskStatus } from "redis-sse/react";

export const useProgress = (id: string): TaskStatus | null => useTask("/tasks/" + id, { cancelUrl: "/cancel" }).status;
export const useText = (): string => useTextStream(async () => "/answer").text;
export const useOrders = (): string =>
  useStream<{ order: { total: number } }>("/orders", { on: { order: ({ total }) => total.toFixed(2) } }).status.state;
// @ts-expect-error an unknown option
export const useWrong = (): unknown => useTextStream("/answer", { lastEventId: "1" });
export const open = (): StreamConnection => connect("/events");
declare const sink: Sink;
express().get("/x/:id", sseStream((req) => req.params.id.toUpperCase()));
// @ts-expect-error a number is not a valid selection
sseStream(() => 7);
try {
  createRedisSse({ heartbeatMs: -1 });
} catch (error) {
  if (error instanceof ConfigError) console.log(answerTo(error));
}
`;

describe("the package in different module systems", function () {
  this.timeout(600_000);
  let project: Project;

  before(async () => {
    const compilers = ["typescript@5.9", "@types/node@20", "@types/express@4", "@types/react@18"];
    const overrides = { "ioredis-mock": { ioredis: "$ioredis" } };
    const packages = [
      "express@4",
      "ioredis@6",
      "ioredis-mock@8",
      "jest@30",
      "react@18",
      "react-dom@18",
      ...compilers,
    ];
    project = await Project.create({ overrides }, ...packages);
  });

  after(() => project?.remove());

  for (const version of NODES) {
    it(`is one copy for import and require() in Node.js ${version}`, async () => {
      await project.write("load.cjs", LOAD);
      const tools = await Project.install({}, `node@${version}`);
      try {
        const node = tools.path("node_modules/node/bin/node");
        expect((await tools.run(node, "--version")).trim()).to.equal(`v${version}`);
        const expected = Object.entries(NAMES).map(([entry, names]) => [entry, { names, copies: [] }]);
        expect(JSON.parse(await project.run(node, "load.cjs"))).to.deep.equal(Object.fromEntries(expected));
      } finally {
        await tools.remove();
      }
    });
  }

  it("works in jest, which cannot require() ES modules", async () => {
    await project.write("app.test.js", JEST);
    await project.run("npx", "jest");
  });

  for (const [module, moduleResolution] of [
    ["commonjs", "node10"],
    ["node16", "node16"],
  ] as const) {
    it(`compiles to CommonJS with moduleResolution ${moduleResolution}, and runs`, async () => {
      await project.write("app.ts", OLD_TYPESCRIPT);
      const options = ["--strict", "--esModuleInterop", "--target", "es2022", "--types", "node"];
      const modules = ["--module", module, "--moduleResolution", moduleResolution];
      await project.run("npx", "tsc", ...options, ...modules, "app.ts");
      expect(await project.run("node", "app.js")).to.include("status: 500");
    });
  }
});
