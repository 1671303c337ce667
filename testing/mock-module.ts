import type { EventEmitter } from "node:events";
import { createRequire } from "node:module";

import type { RedisOptions } from "ioredis";

import { RedisSseError } from "../lib/index.js";
import type { MockData } from "./script-checks.js";

/** Members of an ioredis-mock client used in this folder. */
export interface MockClient extends EventEmitter {
  readonly context: { readonly modifiedKeyEvents: EventEmitter };
  readonly channels: EventEmitter;
  readonly patternChannels: EventEmitter;
  data: MockData;
  subscriberMode: boolean;
  disconnect(): void;
}

export interface MockModule {
  readonly Client: new (options: RedisOptions) => MockClient;
  /** Returns whether a command has this Redis command flag. */
  readonly hasFlag: (command: string, flag: "write" | "denyoom") => boolean;
}

/** Loads ioredis-mock. Throws `MOCK_MISSING` if it is not installed. */
export function loadMock(): MockModule {
  // oxlint-disable-next-line typescript/ban-ts-comment -- TypeScript refuses `import.meta` in CommonJS, where the build replaces it
  // @ts-ignore
  const require = createRequire(import.meta.url);
  let path: string;
  try {
    path = require.resolve("ioredis-mock");
  } catch {
    throw new RedisSseError(
      "MOCK_MISSING",
      "redis-sse/testing needs ioredis-mock. Install it with: npm install --save-dev ioredis-mock",
    );
  }
  const { exists, hasFlag } = createRequire(path)("@ioredis/commands") as {
    exists: (command: string) => boolean;
    hasFlag: (command: string, flag: string) => boolean;
  };
  return {
    Client: require(path) as MockModule["Client"],
    hasFlag: (command, flag) => exists(command) && hasFlag(command, flag),
  };
}
