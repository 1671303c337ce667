/** Moves tasks between the sets of a queue, and ends them. Needs `BASE`; `conclude()` needs `TELL` too. */
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
