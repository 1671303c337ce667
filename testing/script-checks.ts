/**
 * Redis applies an ACL, and the limit of its memory, to each command of a script. ioredis-mock has neither. So while a test
 * has commands refused, scripts run with these lines around them, which ask for each command.
 */

/** A key that no program has: reading it asks whether a command is refused. */
const QUESTION = "redis-sse/testing:refusal:";
/** Reading a key that begins so reports the error that a script returns. */
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

/** What ioredis-mock has for the keys of one connection. */
export interface MockData {
  has(key: string): boolean;
  get(key: string): unknown;
}

export interface ScriptListener {
  /** Why a command is refused, as Redis says it; `null` if it is not. */
  refusal(command: string, channel: string): string | null;
  onError(text: string): void;
}

/** The data of a connection, on which scripts can ask and report. */
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
