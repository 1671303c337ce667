/**
 * Redis applies ACL rules and the memory limit to each command of a script. ioredis-mock does not. So while a test refuses
 * commands, these lines are added to each script. They check each command.
 */

/** Reading a key with this prefix asks whether a command is refused. No program uses such keys. */
const QUESTION = "redis-sse/testing:refusal:";
/** Reading a key with this prefix reports the error that a script returns. */
const REPORT = "redis-sse/testing:error:";

/** Adds the checks to a script. */
export function withChecks(lua: string): string {
  return `
do
  local call, try, ask = redis.call, redis.pcall, redis.call
  local function refusal(name, first)
    name = string.lower(name)
    return ask('get', '${QUESTION}' .. name .. ':' .. (name == 'publish' and first or ''))
  end
  redis.call = function(...)
    local refused = refusal(...)
    if refused then error({err = refused}) end
    return call(...)
  end
  redis.pcall = function(...)
    local refused = refusal(...)
    if refused then return {err = refused} end
    return try(...)
  end
  redis.report = function(reply)
    ask('get', '${REPORT}' .. reply.err)
    return false
  end
end
local isDone, reply = pcall(function(...)
${lua}
end)
if type(reply) == 'table' and reply.err then return redis.report(reply) end
if not isDone then error(reply, 0) end
return reply`;
}

/** The key store of one ioredis-mock connection. */
export interface MockData {
  has(key: string): boolean;
  get(key: string): unknown;
}

export interface ScriptListener {
  /** Returns the Redis error for a refused command, or `null` if the command is allowed. */
  refusal(command: string, channel: string): string | null;
  onError(text: string): void;
}

/** Wraps the data of a connection, so that scripts can ask and report through it. */
export function answerChecks<Data extends MockData>(data: Data, listener: ScriptListener): Data {
  const answer = (key: string): string | null => {
    if (key.startsWith(REPORT)) {
      listener.onError(key.slice(REPORT.length));
      return null;
    }
    const [, command = "", channel = ""] = /^(\w+):(.*)$/s.exec(key.slice(QUESTION.length)) ?? [];
    return listener.refusal(command, channel);
  };
  const isOurs = (key: string): boolean => key.startsWith(QUESTION) || key.startsWith(REPORT);
  return {
    ...data,
    has: (key: string) => (isOurs(key) ? answer(key) !== null : data.has(key)),
    get: (key: string) => (isOurs(key) ? answer(key) : data.get(key)),
  };
}
