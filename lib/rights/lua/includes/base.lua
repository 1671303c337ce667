-- Shared by the scripts of revocations. The Lua must run on all servers and on ioredis-mock, where whole numbers
-- have 32 bits, a missing value may be an object, and the clock goes back.
--
-- Revocations are entries of one Redis stream. Their ids are times in ms, each larger than the one before. The
-- field `r` of an entry is "time forMs call caller target": when `revoke()` was called, how long new streams are
-- refused, the id of the call, the instance that called, and the target as JSON.

local unpack = unpack or table.unpack
local function text(number) return string.format('%.0f', number) end

-- The time in ms. Only ioredis-mock gets it as an argument.
local function clock(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return time[1] * 1000.0 + math.floor(time[2] / 1000)
end

--- @include "../../../redis/lua/includes/array"

-- Returns the time in the id of an entry, its field `r`, and its id. ioredis-mock appends text to the id.
local function open(entry)
  entry = array(entry)
  local fields = array(entry[2])
  return tonumber(string.match(entry[1], '^%d+')), fields[1] == 'r' and fields[2] or '', entry[1]
end
