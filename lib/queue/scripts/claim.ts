import type { Script } from "../../redis/script.js";
import { BASE, defineQueueScript, MOVES, TELL } from "./base.js";

/**
 * ARGV: lease ms, most tasks, the call, attempts of tasks that say nothing, ms for which a failed task is kept, message of
 * one whose worker was lost, tasks per interval ('' for any number), that interval in ms, who claims. Puts back what lost
 * its worker (or fails it, after its last attempt) and what is due, then takes the first in line and records their
 * leases, in one step: an answer that never arrives leaves leases that run out, not lost tasks, and the same call again
 * gets the same tasks. Answers ms until something may be ready, Redis' time, how many schedules are due, of each its name, time and
 * content; then of each task what is told of it, line by line, its payload and its options.
 */
const CLAIM = `${BASE}${TELL}${MOVES}${String.raw`
local lease, want, caller = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
local claims = META .. ':claim:' .. ARGV[14]
insist()

-- From the last to the first: they keep their order by their places.
local lost = call('ZRANGEBYSCORE', LEASES, '-inf', text(now), 'LIMIT', '0', '100')
for index = 1, #lost do
  local id = lost[index]
  local got = fields(TASK .. id, 'attempt', 'attempts', 'progress', 'place', 'once', 'watched')
  leave(LEASES, id)
  if got[1] then
    local task = {attempt = got[1], progress = got[3] or '0', once = got[5], watched = got[6], message = ARGV[11]}
    if tonumber(got[1]) >= tonumber(got[2] or ARGV[9]) then
      task.status = 'failed'
      conclude(id, task, ARGV[10])
    else
      task.status = 'queued'
      watch(id)
      call('HSET', TASK .. id, 'status', 'queued', 'token', '', 'message', task.message)
      later(READY, got[4], id)
      tell(id, 'retry', task)
    end
    task.lost = true
  end
end
if #lost > 0 then count('lost', #lost) end

local due = call('ZRANGEBYSCORE', DELAYED, '-inf', text(now), 'LIMIT', '0', '200')
for index = 1, #due do
  local place = fields(TASK .. due[index], 'place')
  leave(DELAYED, due[index])
  if place[1] then
    call('HSET', TASK .. due[index], 'status', 'queued')
    later(READY, place[1], due[index])
  end
end
settle()

local config = fields(META, 'paused', 'tokens', 'tokensAt')
local wait, reply = 1e9, {}
local first = call('ZRANGE', DELAYED, '0', '0', 'WITHSCORES')
if #first > 0 then wait = math.min(wait, tonumber(first[2]) - now) end
first = call('ZRANGE', LEASES, '0', '0', 'WITHSCORES')
if #first > 0 then wait = math.min(wait, tonumber(first[2]) - now) end

local schedules = call('ZRANGEBYSCORE', META .. ':due', '-inf', text(now), 'WITHSCORES', 'LIMIT', '0', '20')
if config[1] then schedules = {} end
push(reply, '', text(now), text(#schedules / 2))
for index = 1, #schedules, 2 do
  local content = call('HGET', META .. ':schedules', schedules[index])
  push(reply, schedules[index], text(tonumber(schedules[index + 1])), type(content) == 'string' and content or '')
end
if #schedules == 0 and not config[1] then
  first = call('ZRANGE', META .. ':due', '0', '0', 'WITHSCORES')
  if #first > 0 then wait = math.min(wait, tonumber(first[2]) - now) end
end

-- More of a task is read only where there is more.
local function taken(id, kind, payload, createdAt, attempt, startedAt, isPlain)
  local more = isPlain and {} or fields(TASK .. id, 'attempts', 'priority', 'progress', 'options')
  local length = #reply
  reply[length + 1] = id .. '\n' .. caller .. '\n' .. attempt .. '\n' .. (more[1] or '') .. '\n' .. createdAt .. '\n' .. startedAt
    .. '\n' .. (more[2] or '0') .. '\n' .. (more[3] or '0') .. '\n' .. kind
  reply[length + 2], reply[length + 3] = payload, more[4] or ''
end

local before = call('GET', claims)
if type(before) == 'string' and string.match(before, '^%S+') == caller then
  for id in string.gmatch(before, ' (%S+)') do
    local got = fields(TASK .. id, 'token', 'kind', 'payload', 'createdAt', 'attempt', 'startedAt')
    if got[1] == caller then taken(id, got[2], got[3], got[4], got[5], got[6], false) end
  end
elseif not config[1] then
  if ARGV[12] ~= '' then
    -- A bucket of tokens that fills evenly.
    local most, interval = tonumber(ARGV[12]), tonumber(ARGV[13])
    local at = tonumber(config[3] or now)
    local tokens = math.min(most, tonumber(config[2] or ARGV[12]) + math.max(0, now - at) * most / interval)
    local ready = call('ZCARD', READY)
    want = math.max(0, math.min(want, math.floor(tokens), ready))
    if ready > want and tokens - want < 1 then wait = math.min(wait, math.ceil((1 - (tokens - want)) * interval / most)) end
    -- A look at it alone changes nothing: what has come in since is less than can be written. A clock may be set back.
    if want > 0 or now < at then
      call('HSET', META, 'tokens', string.format('%.9f', tokens - want), 'tokensAt', text(now))
    end
  end
  local got = want > 0 and call('ZPOPMIN', READY, text(want)) or {}
  local record, started = {caller}, text(now)
  for index = 1, #got, 2 do
    local id, place = got[index], got[index + 1]
    local key = TASK .. id
    local task = fields(key, 'kind', 'payload', 'createdAt', 'attempt', 'watched', 'more')
    if task[1] then
      local attempt = text(tonumber(task[4] or '0') + 1)
      call('HSET', key, 'status', 'running', 'attempt', attempt, 'token', caller, 'startedAt', started, 'place',
        type(place) == 'string' and place or text(place))
      later(LEASES, text(now + lease), id)
      record[#record + 1] = id
      taken(id, task[1], task[2], task[3], attempt, started, not (task[4] or task[5] or task[6]))
      if KEEP == '' or task[5] then
        -- What was written before belongs to an attempt that is over.
        local began = tell(id, 'started', {status = 'running', progress = fields(key, 'progress')[1] or '0', message = '', attempt = attempt})
        call('HSET', key, 'began', began)
      end
    end
  end
  -- Some had no task behind them any more: behind those there may be others.
  if #record - 1 < #got / 2 then wait = 0 end
  if lists[LEASES] then
    call('ZADD', LEASES, unpack(lists[LEASES]))
    call('SET', claims, table.concat(record, ' '), 'PX', text(lease))
    wait = math.min(wait, lease)
  end
end
reply[1] = text(math.max(0, wait))
return {unpack(reply)}`}`;

/** A task that was taken: what the worker needs of it. */
export interface ClaimedTask {
  readonly id: string;
  /** Proves the attempt: each has its own. */
  readonly token: string;
  readonly attempt: number;
  /** How often it is begun at most; `null`: as the queue says. */
  readonly attempts: number | null;
  readonly createdAt: number;
  readonly startedAt: number;
  readonly priority: number;
  readonly progress: number;
  readonly kind: string;
  /** As JSON. */
  readonly payload: string;
  readonly options: string;
}

export interface DueSchedule {
  readonly name: string;
  readonly due: number;
  readonly content: string;
}

export interface ClaimReply {
  /** Milliseconds until something may be ready that is not now. */
  readonly waitMs: number;
  /** Redis' time. */
  readonly now: number;
  readonly schedules: readonly DueSchedule[];
  readonly tasks: readonly ClaimedTask[];
}

export const claimTasks: Script<ClaimReply> = defineQueueScript(
  "Claim",
  CLAIM,
  ([wait, now, count, ...rest]): ClaimReply => {
    const split = 3 * Number(count);
    const schedules: DueSchedule[] = [];
    for (let index = 0; index < split; index += 3) {
      schedules.push({ name: rest[index]!, due: Number(rest[index + 1]), content: rest[index + 2]! });
    }
    const tasks: ClaimedTask[] = [];
    for (let index = split; index < rest.length; index += 3) {
      tasks.push(toTask(rest[index]!, rest[index + 1]!, rest[index + 2]!));
    }
    return { waitMs: Number(wait), now: Number(now), schedules, tasks };
  },
);

function toTask(head: string, payload: string, options: string): ClaimedTask {
  const [id, token, attempt, attempts, createdAt, startedAt, priority, progress, ...kind] = head.split("\n");
  return {
    id: id!,
    token: token!,
    attempt: Number(attempt),
    attempts: attempts === "" ? null : Number(attempts),
    createdAt: Number(createdAt),
    startedAt: Number(startedAt),
    priority: Number(priority),
    progress: Number(progress),
    kind: kind.join("\n"),
    payload,
    options,
  };
}
