-- Moves tasks that have not ended between their sets.

--- @include "base"

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
  local ids = leaving[list]
  if not ids then
    ids = {}
    leaving[list] = ids
  end
  ids[#ids + 1] = id
end

-- A full Redis takes it all the same, as it takes all that a script does behind a first write that needs no memory. Tasks
-- that could not end, nor keep their leases, would keep it full for ever. If the set of leases has another type, this is unfit.
local function insist() look('ZREMRANGEBYSCORE', LEASES, '(1', '(1') end

-- A counter that another program has broken begins anew.
local function count(name, number)
  if not tonumber(try('HINCRBY', META, name, text(number))) then
    try('HSET', META, name, text(number))
  end
end

-- Does what was put aside.
local function move()
  for set, ids in pairs(leaving) do call('ZREM', set, unpack(ids)) end
  for set, put in pairs(lists) do call('ZADD', set, unpack(put)) end
end

-- The place in line, lower first: by priority, then by age.
local function placeOf(priority, number) return string.format('%.0f', number - priority * 1e12) end

-- Numbers for tasks that enter the queue; nil if the queue's hash has another type. A counter that another program has
-- broken goes on from the time.
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

-- The id of the task that has a key of deduplication; false if there is none.
local function holderOf(once)
  local holder = try('GET', META .. ':once:' .. once)
  return type(holder) == 'string' and holder
end
