import { IS_PLACE } from "../../redis/place-lua.js";
import { defineScript, type Script } from "../../redis/script.js";

/**
 * The scripts that move tasks; `docs/protocol.md` states the keys. Every move is one atomic script, and tells
 * of itself on the task's channel in the same step.
 *
 * A task is a hash. The sorted sets of its queue hold ids: `ready` by priority and age, `delayed` by when they are due,
 * `leases` by when each runs out, and one for each way to end by when its tasks are forgotten. The hash of the queue
 * counts, and numbers what is put in line.
 *
 * The log of a task's channel is made only once somebody asks for it, or the task has something to say: nearly all
 * tasks are never watched, and a log costs several times the task itself. Until then the log is what the task's hash
 * tells, and `watch()` writes it down; from then on (field `watched`) each move appends to it.
 *
 * KEYS: the queue's hash, then what the names of tasks and of their logs begin with. ARGV: now, epoch of a new log, most
 * events kept of a task ('' for none), channel that wakes workers, most tasks kept of each way to end; then what each
 * script says. Redis' own clock decides, so that workers need not agree on the time; `now` is given only to ioredis-mock,
 * whose clock goes back. Lua of all servers and of the mock: no cjson, whole numbers of 32 bits (hence `text()`), what is
 * not there may be an object, and a list that has grown is none.
 */

export const BASE: string = String.raw`
local call, unpack = redis.call, unpack or table.unpack
local META, TASK, POS, LOG = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local NAME = string.match(META, '{tasks}:(.*)$')
local READY, DELAYED, LEASES = META .. ':ready', META .. ':delayed', META .. ':leases'
local EPOCH, KEEP, WAKE = ARGV[2], ARGV[3], ARGV[4]
local now = tonumber(ARGV[1])
if not now then
  local time = call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Most numbers come again for each task of a batch, and writing one takes as long as a command.
local texts = {}
local function text(number)
  local known = texts[number]
  if not known then
    known = string.format('%.0f', number)
    texts[number] = known
  end
  return known
end

local function quote(value)
  return '"' .. string.gsub(value, '[%c"\\]', function(char) return string.format('\\u%04x', string.byte(char)) end) .. '"'
end

-- Those fields of a hash; false for one that is not there.
local function fields(key, ...)
  local got, count = call('HMGET', key, ...), select('#', ...)
  if ARGV[1] == '' then return got end
  local copy = {}
  for index = 1, count do copy[index] = type(got[index]) == 'string' and got[index] end
  return copy
end

local function push(list, ...)
  for index = 1, select('#', ...) do list[#list + 1] = (select(index, ...)) end
end
`;

export const TELL: string = String.raw`${IS_PLACE}
-- Makes a different random epoch for each log, because one script may begin several logs.
local epochs = 0
local function newEpoch()
  epochs = epochs + 1
  if epochs == 1 then return EPOCH end
  if epochs == 2 then math.randomseed(tonumber(string.sub(EPOCH, 1, 7), 16)) end
  return string.format('%04x%04x', math.random(0, 65535), math.random(1, 65535))
end

-- Whether a task has a log, and events can be appended to it.
local function hasLog(id)
  local at = redis.pcall('HMGET', POS .. id, 'e', 'o')
  return not at.err and isPlace(at[1], at[2])
end

-- Whether a client listens to a task's channel. If Redis refuses PUBSUB, LogWatch finds the new log later.
local function isHeard(id)
  local got = redis.pcall('PUBSUB', 'NUMSUB', 'task_progress:' .. id)
  return not got.err and (tonumber(got[2] or 0) or 0) > 0
end

-- Appends an event to a task's log, and publishes it; answers its number. A refused publishing must not leave a move half
-- done.
local function append(id, name, make, ending)
  local channel = 'task_progress:' .. id
  if KEEP == '' then
    redis.pcall('PUBLISH', channel, '\30sse1\n\n' .. name .. '\n' .. make('0'))
    return '0'
  end
  local pos, log = POS .. id, LOG .. id
  local at = redis.pcall('HMGET', pos, 'e', 'o', 'end')
  local isThere = not at.err and isPlace(at[1], at[2])
  if isThere and isEnding(at[3]) then return at[2] end
  -- Data of an earlier log or of another program must not become part of the new log.
  if not isThere then redis.pcall('DEL', pos, log) end
  local epoch, seq = isThere and at[1] or newEpoch(), text(isThere and at[2] + 1 or 1)
  local data, place = make(seq), epoch .. ' ' .. seq
  local entry, changes = {'e', name, 'd', data}, {'e', epoch, 'o', seq, 'k', '1', 'r', '0', 't', '1'}
  if ending then
    push(entry, 'end', ending)
    push(changes, 'end', ending)
    place = place .. ' ' .. ending
  end
  -- A hash of another type that could not be removed must not leave a move half done.
  local kept = redis.pcall('HSET', pos, unpack(changes))
  if isWrongType(kept) then return '0' end
  if type(kept) == 'table' and kept.err then call('HSET', pos, unpack(changes)) end
  local added = redis.pcall('XADD', log, 'MAXLEN', KEEP, seq, unpack(entry))
  if type(added) == 'table' and added.err then
    -- If another program has damaged the log, the log begins again with this event.
    if string.find(added.err, 'WRONGTYPE', 1, true) or string.find(added.err, 'equal or smaller', 1, true) then
      redis.pcall('DEL', log)
      redis.pcall('XADD', log, 'MAXLEN', KEEP, seq, unpack(entry))
    end
  end
  redis.pcall('PUBLISH', channel, '\30sse1\n' .. place .. '\n' .. name .. '\n' .. data)
  return seq
end

local function tell(id, kind, task, ending)
  return append(id, '', function(seq)
    return '{"taskId":"' .. id .. '","progress":' .. task.progress .. ',"message":' .. quote(task.message)
      .. ',"status":"' .. task.status .. '","type":"' .. kind .. '","attempt":' .. task.attempt .. ',"seq":' .. seq
      .. (task.data and ',"data":' .. task.data or '') .. '}'
  end, ending)
end

local function isOver(status) return status == 'succeeded' or status == 'failed' or status == 'cancelled' end

-- Lets the log of a task's channel live as long as what is left of the task.
local function expireLog(id, ttl)
  call('PEXPIRE', POS .. id, ttl)
  call('PEXPIRE', LOG .. id, ttl)
end

-- From now on each move is told; what was before is told now. Answers whether there was anything to tell.
local function watch(id)
  -- Without a log everything was told when it was new.
  if KEEP == '' then return false end
  local key = TASK .. id
  local got = fields(key, 'watched', 'status', 'startedAt', 'progress', 'message', 'attempt', 'delayed')
  -- A server that is short of memory may have dropped a log that was there.
  if KEEP == '' or not got[2] or got[1] and hasLog(id) then return false end
  call('HSET', key, 'watched', '1')
  tell(id, 'queued', {status = got[7] and 'delayed' or 'queued', progress = '0', message = '', attempt = '0'})
  if got[3] then tell(id, 'started', {status = 'running', progress = '0', message = '', attempt = got[6] or '1'}) end
  if isOver(got[2]) then
    tell(id, got[2], {status = got[2], progress = got[4] or '0', message = got[5] or '', attempt = got[6] or '0'}, 'completed')
    expireLog(id, text(call('PTTL', key)))
  end
  return true
end
`;

export const MOVES: string = String.raw`
-- What is put aside for one command at the end: a batch of tasks costs hardly more than one.
local lists, leaving = {}, {}
local function later(list, score, id)
  local put = lists[list]
  if not put then
    put = {}
    lists[list] = put
  end
  local length = #put
  put[length + 1], put[length + 2] = score, id
end

local function leave(list, id)
  leaving[list] = leaving[list] or {}
  leaving[list][#leaving[list] + 1] = id
end

-- A full Redis takes it all the same, as it takes all that a script does behind a first write that needs no memory. Tasks
-- that could not end, nor keep their leases, would keep it full for ever.
local function insist() call('ZREM', LEASES, '') end

local function count(name, number) call('HINCRBY', META, name, text(number)) end

local function forget(id) call('DEL', TASK .. id, POS .. id, LOG .. id) end

-- Does what was put aside. A set's oldest go where it holds more than it may.
local function settle()
  for _, set in ipairs({READY, DELAYED, LEASES}) do
    if leaving[set] then call('ZREM', set, unpack(leaving[set])) end
    if lists[set] then call('ZADD', set, unpack(lists[set])) end
  end
  for _, status in ipairs({'succeeded', 'failed', 'cancelled'}) do
    local ended, set = lists[status], META .. ':' .. status
    if ended then
      call('ZADD', set, unpack(ended))
      call('ZREMRANGEBYSCORE', set, '-inf', text(now))
      count(status, #ended / 2)
      local surplus = math.min(call('ZCARD', set) - tonumber(ARGV[5]), 200)
      if surplus > 0 then
        local oldest = call('ZRANGE', set, '0', text(surplus - 1))
        for index = 1, #oldest do
          -- An entry that has outlived its task may have the id of another one by now, of any queue.
          local got = fields(TASK .. oldest[index], 'status', 'queue')
          if got[1] == status and got[2] == NAME then forget(oldest[index]) end
        end
        call('ZREM', set, unpack(oldest))
      end
    end
  end
end

-- The place in line, lower first: by priority, then by age.
local function placeOf(priority, number) return text(number - tonumber(priority) * 1e12) end

local function enter(number) return tonumber(call('HINCRBY', META, 'seq', text(number))) - number end

-- Ends a task; task has its status, progress, message, attempt, and whether it is watched. What follows are more fields.
local function conclude(id, task, ttl, ...)
  local key = TASK .. id
  call('HSET', key, 'status', task.status, 'token', '', 'progress', task.progress, 'message', task.message,
    'finishedAt', text(now), ...)
  call('PEXPIRE', key, ttl)
  if task.once then
    local once = META .. ':once:' .. task.once
    if call('GET', once) == id then call('DEL', once) end
  end
  if KEEP == '' or task.watched then
    tell(id, task.status, task, 'completed')
    if KEEP ~= '' then expireLog(id, ttl) end
  end
  later(task.status, text(now + tonumber(ttl)), id)
end
`;

/** The queue's hash, and what the names of tasks, of the places of their logs and of the logs begin with. */
export type QueueKeys = readonly [queue: string, task: string, position: string, log: string];

/** A script of a queue, whose arguments begin with what all of them are told. */
export function defineQueueScript<Result>(
  name: string,
  lua: string,
  parse: (reply: readonly string[]) => Result,
): Script<Result> {
  return defineScript(name, lua, 4, (reply) =>
    parse(Array.isArray(reply) ? reply.map(String) : [String(reply)]),
  );
}

export const toFlags = (reply: readonly string[]): readonly boolean[] => reply.map((flag) => flag === "1");
