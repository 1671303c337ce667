-- Shared by all scripts of a queue. `docs/protocol.md` describes the keys. Every change of a task is one atomic
-- script, which also publishes the change on the task's channel.
--
-- A task is a hash. The sorted sets of its queue hold ids: `ready` by priority and age, `delayed` by due time,
-- `leases` by the time at which each lease expires, and one set for each final status, by the time at which
-- its tasks are deleted. The hash of the queue has counters, and numbers the tasks that enter the queue.
--
-- The log of a task's channel is created only when a client first watches the task, or when the task reports
-- something. Most tasks are never watched, and a log costs several times as much as the task itself. Before
-- that, the task's hash has the same facts, and `watch()` writes the log from them. After that (field
-- `watched`), each change appends to the log.
--
-- Other programs may have written these keys, and a script that stops half-way loses tasks. So a script reads
-- all that it needs before its first write. If a set has another type, the script answers '!'
-- (`QUEUE_UNREADABLE`). If a task cannot be read, `claim.lua` moves its id to the set `unreadable`, and all
-- other tasks continue.
--
-- The Lua must run on all servers and on ioredis-mock:
--
-- - cjson is not available.
-- - Whole numbers have 32 bits, hence `text()`.
-- - A missing value may be an object.
-- - ioredis-mock does not recognize a list that has grown as a list, hence `{unpack(list)}`.
--
-- KEYS[1]  the queue's hash
-- KEYS[2]  prefix of the tasks' keys
-- KEYS[3]  prefix of the keys of their logs' hashes
-- KEYS[4]  prefix of the keys of their logs
-- ARGV[1]  current time in ms for ioredis-mock, because its clock goes back; otherwise ''. Then the clock of
--          Redis applies, so the clocks of the workers may differ.
-- ARGV[2]  epoch for a new log
-- ARGV[3]  maximum number of events in a task's log; '' for no log
-- ARGV[4]  channel that wakes workers
-- ARGV[5]  for each final status the maximum number of tasks and the maximum bytes, then the maximum bytes of
--          a payload that is kept

local call, try, unpack = redis.call, redis.pcall, unpack or table.unpack
local META, TASK, POS, LOG = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local NAME = string.match(META, '{tasks}:(.*)$')
local READY, DELAYED, LEASES = META .. ':ready', META .. ':delayed', META .. ':leases'
local EPOCH, KEEP, WAKE = ARGV[2], ARGV[3], ARGV[4]
local isServer, now, time = ARGV[1] == '', tonumber(ARGV[1])
if isServer then
  time = call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A whole number as text. The tasks of a batch have many numbers in common, and formatting one is as slow as a command.
local texts = {}
local function text(number)
  local known = texts[number]
  if not known then
    known = string.format('%.0f', number)
    texts[number] = known
  end
  return known
end

local NOW = text(now)

local function isWrongKind(reply)
  return type(reply) == 'table' and reply.err and string.find(reply.err, 'WRONGTYPE', 1, true) and true
end

-- Reads fields of a hash. A missing field is false. The second result is true if the key has another type.
local function fields(key, ...)
  local got = try('HMGET', key, ...)
  if isServer and not got.err then return got end
  if got.err then
    if not isWrongKind(got) then got = call('HMGET', key, ...) end
    local none = {}
    for index = 1, select('#', ...) do none[index] = false end
    return none, true
  end
  local copy = {}
  for index = 1, select('#', ...) do copy[index] = type(got[index]) == 'string' and got[index] end
  return copy
end

local function push(list, ...)
  for index = 1, select('#', ...) do list[#list + 1] = (select(index, ...)) end
end

-- Reads a key of the queue. If the key has another type, it sets `unfit`: then the script must return UNFIT before its
-- first write.
local unfit, UNFIT = false, {'!'}
local function look(command, key, ...)
  local reply = try(command, key, ...)
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

-- A score of a set as a number; nil if it is infinite.
local function scoreOf(score)
  local number = tonumber(score)
  return number and math.abs(number) < 1e18 and number or nil
end

-- A field of a hash as a number; nil if it is not a number. Results are cached, because tasks of a batch have many
-- values in common.
local numbers = {}
local function finite(value)
  if not value then return nil end
  local known = numbers[value]
  if known == nil then
    known = string.find(tostring(value), '^%-?%d[%d.e+-]*$') and scoreOf(value) or false
    numbers[value] = known
  end
  return known or nil
end

local function shown(score)
  local number = scoreOf(score)
  return number and text(math.floor(number)) or tostring(score)
end

local function isListed(set, id)
  local score = look('ZSCORE', set, id)
  return type(score) == 'string' or type(score) == 'number'
end

local find = string.find
local function isId(id) return #id <= 128 and find(id, '^%w*[%w_-]*$') and #id > 0 end
