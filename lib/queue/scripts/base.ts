import { RedisSseError } from "../../errors.js";
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
 * events kept of a task ('' for none), channel that wakes workers, most tasks and most bytes kept of each way to end
 * and most bytes of a payload that is kept; then what each
 * script says. Redis' own clock decides, so that workers need not agree on the time; `now` is given only to ioredis-mock,
 * whose clock goes back. Lua of all servers and of the mock: no cjson, whole numbers of 32 bits (hence `text()`), what is
 * not there may be an object, and a list that has grown is none.
 *
 * Any program can have written these keys, and a script that stops half-way loses tasks. A script therefore reads all that it
 * needs before its first write. If a set has another type, it answers '!' (`QUEUE_UNREADABLE`). If a task cannot be
 * read, `claim` moves its id to the set `unreadable`, and all other tasks go on.
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

local function isWrongKind(reply)
  return type(reply) == 'table' and reply.err and (ARGV[1] ~= '' or string.find(reply.err, 'WRONGTYPE', 1, true)) and true
end

-- Those fields of a hash; false for one that is not there. The second answer says that the key has another type.
local function fields(key, ...)
  local got, count = redis.pcall('HMGET', key, ...), select('#', ...)
  if got.err then
    if not isWrongKind(got) then got = call('HMGET', key, ...) end
    local none = {}
    for index = 1, count do none[index] = false end
    return none, true
  end
  if ARGV[1] == '' then return got end
  local copy = {}
  for index = 1, count do copy[index] = type(got[index]) == 'string' and got[index] end
  return copy
end

local function push(list, ...)
  for index = 1, select('#', ...) do list[#list + 1] = (select(index, ...)) end
end

-- Reads from a key of the queue. If that key has another type, the script must answer UNFIT before its first write.
local unfit, UNFIT = false, {'!'}
local function look(command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if not isWrongKind(reply) then return call(command, key, ...) end
  unfit = true
  return {}
end

-- Whether one of these sets has another type.
local function areUnfit(...)
  for index = 1, select('#', ...) do look('ZCARD', (select(index, ...))) end
  return unfit
end

-- A score as a number; nil for an infinite one.
local function finite(score)
  local number = string.find(tostring(score), '^%-?%d[%d.e+-]*$') and tonumber(score)
  return number and math.abs(number) < 1e18 and number or nil
end

local function shown(score)
  local number = finite(score)
  return number and text(math.floor(number)) or tostring(score)
end

local function isListed(set, id)
  local score = look('ZSCORE', set, id)
  return type(score) == 'string' or type(score) == 'number'
end

local function isId(id) return #id > 0 and #id <= 128 and not string.find(id, '[^%w_-]') end
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
  if isSpoilt(added) then
    -- The log begins again with this event.
    redis.pcall('DEL', log)
    redis.pcall('XADD', log, 'MAXLEN', KEEP, seq, unpack(entry))
  end
  redis.pcall('PUBLISH', channel, '\30sse1\n' .. place .. '\n' .. name .. '\n' .. data)
  return seq
end

-- Another program may have written it.
local function number(value) return finite(value) and value or '0' end

local function tell(id, kind, task, ending)
  return append(id, '', function(seq)
    return '{"taskId":"' .. id .. '","progress":' .. number(task.progress) .. ',"message":' .. quote(task.message)
      .. ',"status":' .. quote(task.status) .. ',"type":"' .. kind .. '","attempt":' .. number(task.attempt) .. ',"seq":' .. seq
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
local function insist() call('ZREMRANGEBYSCORE', LEASES, '(1', '(1') end

-- A counter that another program has broken begins anew.
local function count(name, number)
  if not tonumber(redis.pcall('HINCRBY', META, name, text(number))) then
    redis.pcall('HSET', META, name, text(number))
  end
end

local function forget(id) call('DEL', TASK .. id, POS .. id, LOG .. id) end

-- A task that is over is in its set by the time at which it is forgotten. The fraction of that score says how large it is, to
-- two percent: its hash may be gone when that is asked. 0: not known.
local MOST_COUNT, MOST_BYTES, PAYLOAD_BYTES = string.match(ARGV[5], '^(%d+) (%d+) (%d+)$')
local function scoreOf(time, size)
  local step = math.min(1023, math.ceil(math.log(size) / math.log(2) * 32))
  return string.format('%.6f', time + step / 1024)
end

local function sizeOf(score)
  local number = finite(score) or 0
  local step = math.floor((number - math.floor(number)) * 1024 + 0.5)
  return step > 0 and math.floor(2 ^ (step / 32)) or 0
end

-- Adds to what all tasks of a set take; answers how much that is now.
local function addBytes(status, bytes)
  local name = 'bytes:' .. status
  local total = tonumber(redis.pcall('HINCRBY', META, name, text(bytes)))
  if total and total >= 0 then return total end
  redis.pcall('HSET', META, name, '0')
  return 0
end

-- Takes tasks from the beginning of a set: ids and scores.
local function drop(status, page, forgets)
  local set, ids, bytes = META .. ':' .. status, {}, 0
  for index = 1, #page, 2 do
    local id = page[index]
    bytes = bytes + sizeOf(page[index + 1])
    ids[#ids + 1] = id
    if forgets then
      -- An entry that has outlived its task may have the id of another one by now, of any queue.
      local got = fields(TASK .. id, 'status', 'queue')
      if got[1] == status and got[2] == NAME then forget(id) end
    end
  end
  if #ids == 0 then return end
  call('ZREM', set, unpack(ids))
  addBytes(status, -bytes)
end

-- Takes a task out of the set of those that are over.
local function dropOne(status, id)
  local score = call('ZSCORE', META .. ':' .. status, id)
  if type(score) == 'string' or type(score) == 'number' then drop(status, {id, score}) end
end

-- Ids whose tasks have expired. Answers how many there were, at most so many.
local function dropExpired(status, most)
  local page = call('ZRANGEBYSCORE', META .. ':' .. status, '-inf', text(now), 'WITHSCORES', 'LIMIT', '0', text(most))
  drop(status, page)
  return #page / 2
end

-- The set of a status expires with its last task.
local function expireSet(status)
  local last = call('ZRANGE', META .. ':' .. status, '-1', '-1', 'WITHSCORES')
  local time = #last > 0 and finite(last[2])
  if time then call('PEXPIREAT', META .. ':' .. status, text(math.floor(time) + 1000)) end
end

-- Does what was put aside. A set's oldest go where it holds more than it may.
local function settle()
  for _, set in ipairs({READY, DELAYED, LEASES}) do
    if leaving[set] then call('ZREM', set, unpack(leaving[set])) end
    if lists[set] then call('ZADD', set, unpack(lists[set])) end
  end
  for _, status in ipairs({'succeeded', 'failed', 'cancelled'}) do
    local ended, set = lists[status], META .. ':' .. status
    if ended then
      dropExpired(status, 200)
      -- The set may have expired with its last task.
      if tonumber(call('ZCARD', set)) == 0 then redis.pcall('HSET', META, 'bytes:' .. status, '0') end
      call('ZADD', set, unpack(ended))
      local bytes, isNew = 0, {}
      for index = 1, #ended, 2 do
        bytes = bytes + sizeOf(ended[index])
        isNew[ended[index + 1]] = true
      end
      bytes = addBytes(status, bytes) - tonumber(MOST_BYTES)
      count(status, #ended / 2)
      local surplus = tonumber(call('ZCARD', set)) - tonumber(MOST_COUNT)
      if surplus > 0 or bytes > 0 then
        local oldest, page = call('ZRANGE', set, '0', '499', 'WITHSCORES'), {}
        -- Those that have just ended are the last to go, even if they expire first.
        for pass = 1, 2 do
          for at = 1, #oldest, 2 do
            if (surplus > 0 or bytes > 0) and (isNew[oldest[at]] or false) == (pass == 2) then
              push(page, oldest[at], oldest[at + 1])
              surplus, bytes = surplus - 1, bytes - sizeOf(oldest[at + 1])
            end
          end
        end
        drop(status, page, true)
      end
      expireSet(status)
    end
  end
end

-- The place in line, lower first: by priority, then by age.
local function placeOf(priority, number) return text(number - tonumber(priority) * 1e12) end

-- Numbers for tasks that enter the queue; nil if the queue's hash has another type. A counter that another program has
-- broken goes on from the time.
local function enter(number)
  local top = redis.pcall('HINCRBY', META, 'seq', text(number))
  if isWrongKind(top) then return nil end
  local fault = type(top) == 'table' and tostring(top.err) or 'integer'
  local isBroken = string.find(fault, 'integer', 1, true) or string.find(fault, 'overflow', 1, true)
  top = tonumber(top)
  if top and math.abs(top) < 1e15 then return top - number end
  if not isBroken then call('HINCRBY', META, 'seq', text(number)) end
  call('HSET', META, 'seq', text(now + number))
  return now
end

-- The id of the task that has a key of deduplication; false if there is none.
local function holderOf(once)
  local holder = redis.pcall('GET', META .. ':once:' .. once)
  return type(holder) == 'string' and holder
end

-- How many bytes the fields take that earlier steps of a task have stored.
local function lengthOf(data, errors, options) return #(data or '') + #(errors or '') + #(options or '') end

-- Ends a task; task has its status, progress, message, attempt, payload, whether it is watched, and, if it was read, what else
-- it has stored (lengthOf()). What follows are more fields.
local function conclude(id, task, ttl, ...)
  local key, payload = TASK .. id, task.payload or ''
  local more, size = {...}, 400 + #id + #(task.message or '')
  size = size + (task.stored or lengthOf(unpack(fields(key, 'data', 'error', 'options'), 1, 3)))
  for index = 1, #more do size = size + #more[index] end
  if task.status ~= 'failed' and #payload > tonumber(PAYLOAD_BYTES) then
    push(more, 'payload', '', 'released', '1')
  else
    size = size + #payload
  end
  if task.watched then
    -- A user without the right to ask for its size can ask for its length.
    local bytes = tonumber(redis.pcall('MEMORY', 'USAGE', LOG .. id))
    size = size + (bytes or 200 * (tonumber(redis.pcall('XLEN', LOG .. id)) or 0))
  end
  call('HSET', key, 'status', task.status, 'token', '', 'progress', task.progress, 'message', task.message,
    'finishedAt', text(now), unpack(more))
  call('PEXPIRE', key, ttl)
  if task.once then
    if holderOf(task.once) == id then call('DEL', META .. ':once:' .. task.once) end
  end
  if KEEP == '' or task.watched then
    tell(id, task.status, task, 'completed')
    if KEEP ~= '' then expireLog(id, ttl) end
  end
  later(task.status, scoreOf(now + tonumber(ttl), size), id)
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
  return defineScript(name, lua, 4, (reply) => {
    const lines = Array.isArray(reply) ? reply.map(String) : [String(reply)];
    if (lines[0] === "!") {
      throw new RedisSseError("QUEUE_UNREADABLE", "A key of this queue in Redis has the wrong type.");
    }
    return parse(lines);
  });
}

/**
 * Reads tasks from a set, and puts aside those that cannot be read. `sort()` only reads, `putAside()` writes. If the hash of such
 * a task is of no use to anybody, it expires with the entry.
 */
export const ASIDE: string = String.raw`
local UNREADABLE, ASIDE_MS, MOST_ASIDE = META .. ':unreadable', '604800000', 1000
local KIND, STATUS, CREATED, ATTEMPT, ATTEMPTS, PRIORITY, PROGRESS, PLACE = 1, 3, 4, 5, 6, 7, 8, 9
local ONCE, WATCHED, MORE, PAYLOAD, STARTED, OPTIONS, TOKEN = 10, 11, 12, 13, 14, 15, 16

local function isWithin(value, least, most)
  if not value then return true end
  local number = #value <= 24 and finite(value)
  return number and number >= least and number <= most
end

local function isWhole(value, most) return not value or #value <= 16 and not string.find(value, '%D') and isWithin(value, 0, most) end

-- The fields of a task, and whether they are those of a task of this queue in that state. The third answer says that the hash
-- is of no use.
local function stored(id, status)
  if not isId(id) then return {}, false, false end
  local got, isOther = fields(TASK .. id, 'kind', 'queue', 'status', 'createdAt', 'attempt', 'attempts', 'priority', 'progress',
    'place', 'once', 'watched', 'more', 'payload', 'startedAt', 'options', 'token')
  local isSound = not isOther and got[KIND] and #got[KIND] > 0 and #got[KIND] <= 512 and got[2] and got[CREATED] and got[PAYLOAD]
    and #got[CREATED] > 0 and isWhole(got[CREATED], 8.64e15) and isWhole(got[STARTED], 8.64e15)
    and isWhole(got[ATTEMPT], 1e6) and isWhole(got[ATTEMPTS], 1000) and got[ATTEMPTS] ~= '0' and isWithin(got[PRIORITY], -100, 100)
    and isWithin(got[PROGRESS], 0, 100) and isWithin(got[PLACE], -1e18, 1e18)
  return got, isSound and got[2] == NAME and got[STATUS] == status, not isSound and (not got[2] or got[2] == NAME)
end

local aside = {}

-- The tasks of a page with scores that can be read, each with its id, fields and score.
local function sort(set, page, status, needsPlace)
  local found = {}
  for index = 1, #page, 2 do
    local id, score = page[index], page[index + 1]
    local got, isFit, isUseless = stored(id, status)
    if isFit and finite(score) and (got[PLACE] or not needsPlace) then
      found[#found + 1] = {id, got, type(score) == 'string' and score or text(score)}
    else
      aside[#aside + 1] = {set, id, isUseless or isFit and not finite(score) or isFit and needsPlace and not got[PLACE]}
    end
  end
  return found
end

-- Ids become parts of keys and cursors: other characters are written as in a URL.
local function nameOf(id)
  if isId(id) then return id end
  if id == '' then return '%' end
  local name = string.gsub(string.sub(id, 1, 200), '[^%w_-]', function(char) return string.format('%%%02X', string.byte(char)) end)
  return #id > 200 and name .. '...' or name
end

local function putAside()
  for index = 1, #aside do
    local set, id, expires = unpack(aside[index])
    call('ZADD', UNREADABLE, text(now), nameOf(id))
    call('ZREM', set, id)
    if expires then call('PEXPIRE', TASK .. id, ASIDE_MS) end
  end
  if #aside == 0 then return end
  count('unreadable', #aside)
  aside = {}
  call('ZREMRANGEBYSCORE', UNREADABLE, '-inf', text(now - tonumber(ASIDE_MS)))
  local surplus = tonumber(call('ZCARD', UNREADABLE)) - MOST_ASIDE
  if surplus > 0 then call('ZREMRANGEBYRANK', UNREADABLE, '0', text(surplus - 1)) end
  call('PEXPIRE', UNREADABLE, ASIDE_MS)
end
`;

export const toFlags = (reply: readonly string[]): readonly boolean[] => reply.map((flag) => flag === "1");
