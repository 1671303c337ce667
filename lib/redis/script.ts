import type { RedisClient } from "./client.js";

/** A Lua script as a typed function of keys and arguments. */
export type Script<Result> = (
  client: RedisClient,
  keys: readonly string[],
  args: readonly (string | number)[],
) => Promise<Result>;

type Command = (...values: (string | number)[]) => Promise<unknown>;

/**
 * Defines a Lua script. The first call registers it as a command. Then ioredis sends its SHA, and sends the text only if the server
 * does not know the script (after a restart or SCRIPT FLUSH). `parse` reads the reply.
 *
 * Scripts must run on Redis 6.2 or later and on ioredis-mock, so they use no cjson, and only 32-bit integers.
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
