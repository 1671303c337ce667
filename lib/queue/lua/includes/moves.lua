-- Moves tasks that have not ended between their sets.

--- @include "base"

-- Changes of the sets. `move()` makes them with one command for each set, so a batch of tasks costs little more than
-- one task.
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
  local ids = leaving[list]
  if not ids then
    ids = {}
    leaving[list] = ids
  end
  ids[#ids + 1] = id
end

-- Lets the script write even if the memory of Redis is full. Redis accepts all writes of a script whose first write
-- needs no memory. Otherwise tasks could not end or keep their leases, and Redis would stay full. If the set of leases
-- has another type, it sets `unfit`.
local function insist() look('ZREMRANGEBYSCORE', LEASES, '(1', '(1') end

-- Adds to a counter of the queue. If another program damaged the counter, it starts again.
local function count(name, number)
  if not tonumber(try('HINCRBY', META, name, text(number))) then
    try('HSET', META, name, text(number))
  end
end

-- Makes the collected changes of the sets.
local function move()
  for set, ids in pairs(leaving) do call('ZREM', set, unpack(ids)) end
  for set, put in pairs(lists) do call('ZADD', set, unpack(put)) end
end

-- The place of a task in the queue: by priority, then by age. Lower places start first.
local function placeOf(priority, number) return string.format('%.0f', number - priority * 1e12) end

-- Reserves numbers for tasks that enter the queue; nil if the queue's hash has another type. If another program damaged
-- the counter, it continues from the current time.
local function enter(number)
  local top = try('HINCRBY', META, 'seq', text(number))
  if isWrongKind(top) then return nil end
  local fault = type(top) == 'table' and tostring(top.err) or 'integer'
  local isBroken = string.find(fault, 'integer', 1, true) or string.find(fault, 'overflow', 1, true)
  top = tonumber(top)
  if top and math.abs(top) < 1e15 then return top - number end
  if not isBroken then call('HINCRBY', META, 'seq', text(number)) end
  call('HSET', META, 'seq', text(now + number))
  return now
end

-- The id of the task that has a deduplication key; false if no task has it.
local function holderOf(once)
  local holder = try('GET', META .. ':once:' .. once)
  return type(holder) == 'string' and holder
end
