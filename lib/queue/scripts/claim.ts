import type { Script } from "../../redis/script.js";
import { ASIDE } from "./aside.js";
import { BASE, defineQueueScript } from "./base.js";
import { MOVES } from "./moves.js";
import { TELL } from "./tell.js";

/**
 * ARGV: lease ms, most tasks, the call, attempts of tasks that say nothing, ms for which a failed task is kept, message of
 * one whose worker was lost, tasks per interval ('' for any number), that interval in ms, who claims. Puts back what lost
 * its worker (or fails it, after its last attempt) and what is due, then takes the first in line and records their
 * leases, in one step: an answer that never arrives leaves leases that run out, not lost tasks, and the same call again
 * gets the same tasks. Ids of tasks that cannot be read are put aside. Answers ms until something may be ready, Redis' time, how many schedules are due, of each its name, time and
 * content; then of each task what is told of it, line by line, its payload and its options.
 */
const CLAIM = `${BASE}${TELL}${MOVES}${ASIDE}${String.raw`
local lease, want, caller = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
local claims = META .. ':claim:' .. ARGV[14]

local due = look('ZRANGEBYSCORE', DELAYED, '-inf', text(now), 'WITHSCORES', 'LIMIT', '0', '200')
local lost = look('ZRANGEBYSCORE', LEASES, '-inf', text(now), 'WITHSCORES', 'LIMIT', '0', '100')
local schedules = look('ZRANGEBYSCORE', META .. ':due', '0', text(now), 'WITHSCORES', 'LIMIT', '0', '20')
local ready = tonumber(look('ZCARD', READY)) or 0
local config, isOther = fields(META, 'paused', 'tokens', 'tokensAt', 'sweptAt')
if unfit or isOther then return UNFIT end
if config[1] then schedules = {} end
local contents = {}
for index = 1, #schedules, 2 do
  local content = look('HGET', META .. ':schedules', schedules[index])
  contents[index] = type(content) == 'string' and content or ''
end
lost, due = sort(LEASES, lost, 'running', true), sort(DELAYED, due, 'delayed', true)
-- An infinite score never comes up by itself.
local sweeps = math.abs(now - (finite(config[4]) or 0)) >= 60000
if sweeps then
  areUnfit(META .. ':succeeded', META .. ':failed', META .. ':cancelled')
  sort(LEASES, look('ZRANGEBYSCORE', LEASES, '+inf', '+inf', 'WITHSCORES', 'LIMIT', '0', '100'), 'running', true)
  sort(DELAYED, look('ZRANGEBYSCORE', DELAYED, '+inf', '+inf', 'WITHSCORES', 'LIMIT', '0', '100'), 'delayed', true)
end
if #aside > 0 then look('ZCARD', UNREADABLE) end
if #lost > 0 then look('ZCARD', META .. ':failed') end
if unfit then return UNFIT end

insist()
if sweeps then
  local expired = 0
  for _, status in ipairs({'succeeded', 'failed', 'cancelled'}) do
    expired = math.max(expired, dropExpired(status, 1000))
    expireSet(status)
    -- What another program has changed is counted anew where that is not much.
    local set = META .. ':' .. status
    if tonumber(call('ZCARD', set)) <= 1000 then
      local page, bytes = call('ZRANGE', set, '0', '-1', 'WITHSCORES'), 0
      for index = 2, #page, 2 do bytes = bytes + sizeOf(page[index]) end
      call('HSET', META, 'bytes:' .. status, text(bytes))
    end
  end
  if expired < 1000 then call('HSET', META, 'sweptAt', text(now)) end
end
-- They keep their order by their places.
for index = 1, #lost do
  local id, got = unpack(lost[index])
  local attempt = got[ATTEMPT] or '0'
  local task = {attempt = attempt, progress = got[PROGRESS] or '0', once = got[ONCE], watched = got[WATCHED], message = ARGV[11],
    payload = got[PAYLOAD]}
  leave(LEASES, id)
  if tonumber(attempt) >= tonumber(got[ATTEMPTS] or ARGV[9]) then
    task.status = 'failed'
    conclude(id, task, ARGV[10])
  else
    task.status = 'queued'
    watch(id)
    call('HDEL', TASK .. id, 'unknownAt')
    call('HSET', TASK .. id, 'status', 'queued', 'token', '', 'message', task.message)
    later(READY, got[PLACE], id)
    tell(id, 'retry', task)
  end
end
if #lost > 0 then count('lost', #lost) end
for index = 1, #due do
  local id, got = unpack(due[index])
  leave(DELAYED, id)
  call('HSET', TASK .. id, 'status', 'queued')
  later(READY, got[PLACE], id)
end
settle()
putAside()
if lists[READY] then ready = ready + #lists[READY] / 2 end

local wait, reply = 1e9, {}
local function waitFor(set)
  local first = call('ZRANGE', set, '0', '0', 'WITHSCORES')
  if #first > 0 then wait = math.min(wait, (finite(first[2]) or 1e15) - now) end
end
waitFor(DELAYED)
waitFor(LEASES)

push(reply, '', text(now), text(#schedules / 2))
for index = 1, #schedules, 2 do push(reply, schedules[index], shown(schedules[index + 1]), contents[index]) end
if #schedules == 0 and not config[1] then waitFor(META .. ':due') end

local function taken(id, got, attempt, startedAt)
  local length = #reply
  reply[length + 1] = id .. '\n' .. caller .. '\n' .. attempt .. '\n' .. (got[ATTEMPTS] or '') .. '\n' .. got[CREATED] .. '\n'
    .. startedAt .. '\n' .. (got[PRIORITY] or '0') .. '\n' .. (got[PROGRESS] or '0') .. '\n' .. got[KIND]
  reply[length + 2], reply[length + 3] = got[PAYLOAD], got[OPTIONS] or ''
end

local before = redis.pcall('GET', claims)
if type(before) == 'string' and string.match(before, '^%S+') == caller then
  for id in string.gmatch(before, ' (%S+)') do
    local got, isFit = stored(id, 'running')
    if isFit and got[TOKEN] == caller then taken(id, got, got[ATTEMPT] or '1', got[STARTED] or text(now)) end
  end
  -- There may be room for more than it was asked for the first time.
  if ready > 0 and not config[1] then wait = 0 end
elseif not config[1] then
  local tokens, at
  if ARGV[12] ~= '' then
    -- A bucket of tokens that fills evenly.
    local most, interval = tonumber(ARGV[12]), tonumber(ARGV[13])
    at = finite(config[3]) or now
    tokens = math.min(most, (finite(config[2]) or most) + math.max(0, now - at) * most / interval)
    want = math.max(0, math.min(want, math.floor(tokens), ready))
    if ready > want and tokens - want < 1 then wait = math.min(wait, math.ceil((1 - (tokens - want)) * interval / most)) end
  end
  local page = want > 0 and ready > 0 and call('ZRANGE', READY, '0', text(want - 1), 'WITHSCORES') or {}
  local found = sort(READY, page, 'queued')
  if #aside > 0 and areUnfit(UNREADABLE) then return UNFIT end
  -- A look at it alone changes nothing: what has come in since is less than can be written. A clock may be set back.
  if tokens and (#found > 0 or now < at) then
    call('HSET', META, 'tokens', string.format('%.9f', tokens - #found), 'tokensAt', text(now))
  end
  putAside()
  local record, started = {caller}, text(now)
  for index = 1, #found do
    local id, got, place = unpack(found[index])
    local key, attempt = TASK .. id, text(tonumber(got[ATTEMPT] or '0') + 1)
    call('HSET', key, 'status', 'running', 'attempt', attempt, 'token', caller, 'startedAt', started, 'place', place)
    later(LEASES, text(now + lease), id)
    record[#record + 1] = id
    taken(id, got, attempt, started)
    if KEEP == '' or got[WATCHED] then
      -- What was written before belongs to an attempt that is over.
      local began = tell(id, 'started', {status = 'running', progress = got[PROGRESS] or '0', message = '', attempt = attempt})
      call('HSET', key, 'began', began)
    end
  end
  -- Behind those that were put aside there may be others.
  if #found < #page / 2 then wait = 0 end
  if #found > 0 then
    call('ZADD', LEASES, unpack(lists[LEASES]))
    call('ZREM', READY, unpack(record, 2))
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
