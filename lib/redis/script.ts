import type { RedisClient } from "./client.js";

/** A Lua script as a typed function: keys, then arguments, to what it returns. */
export type Script<Result> = (
  client: RedisClient,
  keys: readonly string[],
  args: readonly (string | number)[],
) => Promise<Result>;

type Command = (...values: (string | number)[]) => Promise<unknown>;

/**
 * Registers `lua` as a command on first use: ioredis then sends its SHA, and the text only where the
 * server does not know it (a restart, SCRIPT FLUSH). The result is read with `parse`.
 *
 * Scripts run on Redis 6.2 and later and on ioredis-mock alike: no cjson, 32-bit integers.
 */
export function defineScript<Result>(
  name: string,
  lua: string,
  numberOfKeys: number,
  parse: (reply: unknown) => Result,
): Script<Result> {
  const command = `redisSse${name}`;
  return async (client, keys, args) => {
    const commands = client as unknown as Record<string, Command | undefined>;
    if (commands[command] === undefined) client.defineCommand(command, { lua, numberOfKeys });
    return parse(await commands[command]!(...keys, ...args));
  };
}
