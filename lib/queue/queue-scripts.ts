import { isMock } from "../redis/client.js";
import { defineScript, type Script } from "../redis/script.js";

/**
 * Every move of a task is one atomic script. A task's state is a hash; the ready list holds ids, oldest at
 * its right end; the leases are a sorted set of ids by the time at which each runs out.
 *
 * Redis' own clock decides, so that workers need not agree on the time. Milliseconds are computed with
 * `1000.0`: ioredis-mock's Lua has 32-bit integers, and Redis' only floats. What only wakes somebody is published
 * with `pcall`: a publishing fault must not leave a move half done. What tells of a task is published by whoever
 * has moved it, once the move is made: the log of its channel is in another slot of a cluster.
 */
const NOW = `local now = tonumber(ARGV[#ARGV])
if now == nil then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000.0 + math.floor(tonumber(time[2]) / 1000)
end
local function stamp(value) return string.format('%.0f', value) end
`;

/**
 * A script that knows the time, as `now`. The last argument is ours: empty on a server; the time itself on
 * ioredis-mock, whose TIME rounds the seconds and so goes back once in each.
 */
function defineTimedScript<Result>(
  name: string,
  lua: string,
  numberOfKeys: number,
  parse: (reply: unknown) => Result,
): Script<Result> {
  const script = defineScript(name, NOW + lua, numberOfKeys, parse);
  return (client, keys, args) => script(client, keys, [...args, isMock(client) ? Date.now() : ""]);
}

const toFlag = (reply: unknown): boolean => Number(reply) === 1;
const toFields = (reply: unknown): readonly string[] | null =>
  Array.isArray(reply) ? reply.map(String) : null;

/**
 * KEYS task, ready. ARGV id, kind, payload, wake channel, call. When it was created, as ISO 8601; null: the id
 * is taken. A call whose answer was lost is sent again by ioredis: it finds its own task, and answers the same.
 */
export const enqueue: Script<string | null> = defineTimedScript(
  "Enqueue",
  `if redis.call('EXISTS', KEYS[1]) == 1 then
  if redis.call('HGET', KEYS[1], 'call') ~= ARGV[5] then return false end
  return redis.call('HGET', KEYS[1], 'createdAt')
end
redis.call('HSET', KEYS[1], 'call', ARGV[5], 'id', ARGV[1], 'kind', ARGV[2], 'payload', ARGV[3], 'status', 'queued',
  'progress', '0', 'message', '', 'attempt', '0', 'createdAt', stamp(now))
redis.call('LPUSH', KEYS[2], ARGV[1])
redis.pcall('PUBLISH', ARGV[4], ARGV[1])
return stamp(now)`,
  2,
  (reply) => (reply ? new Date(Number(reply)).toISOString() : null),
);

/**
 * KEYS ready, leases. ARGV task key prefix, token, lease ms, attempts, result ttl ms, message of those given up.
 * First puts back what lost its worker (or fails it, after its last attempt), then takes the oldest task and
 * records its lease, in one step: a reply that never arrives leaves a lease that runs out, not a lost task.
 */
export const claim: Script<Claimed> = defineTimedScript(
  "Claim",
  `local reply = {0}
local expired = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', stamp(now), 'LIMIT', '0', '100')
-- From the last to the first: what is pushed last is taken first, and they keep their order.
for index = #expired, 1, -1 do
  local id = expired[index]
  redis.call('ZREM', KEYS[2], id)
  local task = ARGV[1] .. id
  if redis.call('EXISTS', task) == 1 then
    redis.call('HDEL', task, 'token')
    if tonumber(redis.call('HGET', task, 'attempt')) >= tonumber(ARGV[4]) then
      redis.call('HSET', task, 'status', 'failed', 'message', ARGV[6], 'finishedAt', stamp(now))
      redis.call('PEXPIRE', task, ARGV[5])
      reply[1] = reply[1] + 1
      reply[#reply + 1] = id
      reply[#reply + 1] = redis.call('HGET', task, 'progress')
    else
      redis.call('HSET', task, 'status', 'queued')
      redis.call('RPUSH', KEYS[1], id)
    end
  end
end
local id = redis.call('RPOP', KEYS[1])
while id do
  local task = ARGV[1] .. id
  if redis.call('EXISTS', task) == 1 then
    redis.call('HINCRBY', task, 'attempt', '1')
    redis.call('HSET', task, 'status', 'running', 'token', ARGV[2], 'startedAt', stamp(now))
    redis.call('ZADD', KEYS[2], stamp(now + tonumber(ARGV[3])), id)
    for _, field in ipairs(redis.call('HGETALL', task)) do reply[#reply + 1] = field end
    break
  end
  id = redis.call('RPOP', KEYS[1])
end
-- Made anew: ioredis-mock takes a table that has grown for none that is a list.
return {unpack(reply)}`,
  2,
  (reply) => {
    const [count = 0, ...rest] = reply as readonly unknown[];
    const values = rest.map(String);
    const givenUp: { id: string; progress: number }[] = [];
    for (let index = 0; index < Number(count); index++) {
      givenUp.push({ id: values[2 * index]!, progress: Number(values[2 * index + 1]) });
    }
    const fields = values.slice(2 * Number(count));
    return { givenUp, fields: fields.length === 0 ? null : fields };
  },
);

export interface Claimed {
  /** Tasks that have failed for good, since their last worker was lost. */
  readonly givenUp: readonly { readonly id: string; readonly progress: number }[];
  /** Those of the task that was taken; `null` when none is ready. */
  readonly fields: readonly string[] | null;
}

/** KEYS task, leases. ARGV id, token, lease ms. False when the task is no longer this worker's. */
export const renew: Script<boolean> = defineTimedScript(
  "Renew",
  `if redis.call('HGET', KEYS[1], 'token') ~= ARGV[2] then return 0 end
redis.call('ZADD', KEYS[2], stamp(now + tonumber(ARGV[3])), ARGV[1])
return 1`,
  2,
  toFlag,
);

/**
 * KEYS task, leases. ARGV id, token, status, progress, message, result, ttl ms. Repeatable:
 * the one who has finished it is told so again.
 */
export const finish: Script<boolean> = defineTimedScript(
  "Finish",
  `if redis.call('HGET', KEYS[1], 'finishedBy') == ARGV[2] then return 1 end
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], 'token')
redis.call('HSET', KEYS[1], 'finishedBy', ARGV[2], 'status', ARGV[3], 'progress', ARGV[4], 'message', ARGV[5], 'result', ARGV[6],
  'finishedAt', stamp(now))
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[7])
return 1`,
  2,
  toFlag,
);

/** KEYS task, ready, leases. ARGV id, token, wake channel. Gives an unfinished task back; the attempt does not count. */
export const giveBack: Script<boolean> = defineScript(
  "GiveBack",
  `if redis.call('HGET', KEYS[1], 'token') ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], 'token')
redis.call('HINCRBY', KEYS[1], 'attempt', '-1')
redis.call('HSET', KEYS[1], 'status', 'queued')
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('RPUSH', KEYS[2], ARGV[1])
redis.pcall('PUBLISH', ARGV[3], ARGV[1])
return 1`,
  3,
  toFlag,
);

/**
 * KEYS task. ARGV token ('' for a caller without one), progress, message. Refuses progress
 * of a task that has ended or that another worker has taken over.
 */
export const report: Script<boolean> = defineScript(
  "Report",
  `if redis.call('EXISTS', KEYS[1]) == 1 then
  local status = redis.call('HGET', KEYS[1], 'status')
  if status == 'succeeded' or status == 'failed' then return 0 end
  if ARGV[1] ~= '' and redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
  redis.call('HSET', KEYS[1], 'progress', ARGV[2], 'message', ARGV[3])
elseif ARGV[1] ~= '' then
  return 0
end
return 1`,
  1,
  toFlag,
);

/** KEYS task. Answers its fields; none when there is no such task. */
export const read: Script<readonly string[] | null> = defineScript(
  "ReadTask",
  `return redis.call('HGETALL', KEYS[1])`,
  1,
  toFields,
);
