-- Keeps the finished tasks: each final status has its own sorted set, with limits. `lookAt()` only reads; call
-- it before the first write.

--- @include "base"

local MOST_COUNT, MOST_BYTES, MOST_PAYLOAD = string.match(ARGV[5], '^(%d+) (%d+) (%d+)$')

local function forget(id) call('DEL', TASK .. id, POS .. id, LOG .. id) end

-- The size of a finished task in bytes, to two percent; 0 if it is unknown. The score of the task is the time at which
-- it is deleted, and the fraction of the score is its size: the hash may have expired when the size is needed.
local function sizeOf(score)
  local number = scoreOf(score) or 0
  local step = math.floor((number - math.floor(number)) * 1024 + 0.5)
  return step > 0 and math.floor(2 ^ (step / 32)) or 0
end

-- For each status the tasks that end now: scores and ids, their bytes, and the time at which the last of them is
-- deleted.
local ended, endedBytes, endedUntil = {}, {}, {}
local lastTime, lastSize, lastScore, lastBytes
-- Stores the end of a task. `size` is its size in bytes. Further arguments are names and values of more fields.
local function close(id, status, ttl, size, ...)
  local key, time, put = TASK .. id, now + ttl, ended[status]
  call('HSET', key, 'status', status, 'token', '', 'finishedAt', NOW, ...)
  call('PEXPIRE', key, ttl)
  if not put then
    put = {}
    ended[status], endedBytes[status], endedUntil[status] = put, 0, 0
  end
  -- Tasks of a batch often have the same size, so the last score is cached.
  if time ~= lastTime or size ~= lastSize then
    local step = math.min(1023, math.ceil(math.log(size) / math.log(2) * 32))
    lastTime, lastSize, lastScore = time, size, string.format('%.6f', time + step / 1024)
    lastBytes = sizeOf(lastScore)
  end
  endedUntil[status] = math.max(endedUntil[status], time)
  local length = #put
  put[length + 1], put[length + 2] = lastScore, id
  endedBytes[status] = endedBytes[status] + lastBytes
end

-- Subtracts from the byte counter of a set.
local function subtract(status, bytes)
  local name = 'bytes:' .. status
  local total = tonumber(try('HINCRBY', META, name, text(-bytes)))
  if not total or total < 0 then try('HSET', META, name, '0') end
end

-- Removes tasks from a set. `page` is a list of ids and scores. If `forgets` is true, it also deletes the tasks.
local function drop(status, page, forgets)
  local set, ids, bytes = META .. ':' .. status, {}, 0
  for index = 1, #page, 2 do
    local id = page[index]
    bytes = bytes + sizeOf(page[index + 1])
    ids[#ids + 1] = id
    if forgets then
      -- If the task has expired, a new task may have the same id now, in any queue. That task must stay.
      local got = fields(TASK .. id, 'status', 'queue')
      if got[1] == status and got[2] == NAME then forget(id) end
    end
  end
  if #ids == 0 then return end
  call('ZREM', set, unpack(ids))
  subtract(status, bytes)
end

-- Removes one task from the set of a final status.
local function dropOne(status, id)
  local score = call('ZSCORE', META .. ':' .. status, id)
  if type(score) == 'string' or type(score) == 'number' then drop(status, {id, score}) end
end

-- Ids and scores of expired tasks.
local function expiredOf(status, most)
  return look('ZRANGEBYSCORE', META .. ':' .. status, '-inf', NOW, 'WITHSCORES', 'LIMIT', '0', most)
end

local expired = {}
local function lookAt(status)
  if not expired[status] then expired[status] = expiredOf(status, '200') end
end

-- Sets the expiry of a set: with its last task, or up to a minute later.
local function expireSet(status, time)
  local limit = text(math.floor(time) + 60000)
  call('PEXPIREAT', META .. ':' .. status, limit)
  try('HSET', META, 'until:' .. status, limit)
end

-- Adds the tasks that end now to their sets. If a set exceeds its limits, the oldest tasks are deleted.
local function finish()
  for status, put in pairs(ended) do
    local set, name = META .. ':' .. status, 'bytes:' .. status
    lookAt(status)
    drop(status, expired[status])
    local length, time = tonumber(call('ZCARD', set)), endedUntil[status]
    local got = fields(META, status, name, 'until:' .. status)
    -- The set may have expired with its last task.
    local before = length > 0 and scoreOf(got[2]) or 0
    local bytes, limit = math.max(before, 0) + endedBytes[status], scoreOf(got[3])
    local surplus, over = length + tonumber(call('ZADD', set, unpack(put))) - MOST_COUNT, bytes - MOST_BYTES
    if length == 0 or not limit or limit < time then
      if length > 0 and not limit then
        -- Tasks that ended before may be kept longer.
        local last = call('ZRANGE', set, '-1', '-1', 'WITHSCORES')
        time = math.max(time, scoreOf(last[2]) or 0)
      end
      expireSet(status, time)
    end
    -- If another program damaged the counter, it starts again at 0.
    try('HSET', META, status, text((scoreOf(got[1]) or 0) + #put / 2), name, text(bytes))
    if surplus > 0 or over > 0 then
      local isNew = {}
      for index = 2, #put, 2 do isNew[put[index]] = true end
      local oldest, page = call('ZRANGE', set, '0', '499', 'WITHSCORES'), {}
      -- Tasks that end now are deleted last, even if they expire first.
      for pass = 1, 2 do
        for at = 1, #oldest, 2 do
          if (surplus > 0 or over > 0) and (isNew[oldest[at]] or false) == (pass == 2) then
            push(page, oldest[at], oldest[at + 1])
            surplus, over = surplus - 1, over - sizeOf(oldest[at + 1])
          end
        end
      end
      drop(status, page, true)
    end
  end
end
