-- The time of Redis, and numbers as text. Only ioredis-mock gets the current time as an argument, because its
-- clock goes back.

local unpack = unpack or table.unpack
local function text(number) return string.format('%.0f', number) end

-- The time in milliseconds, and the stamp of an event that is published now.
local function clock(given)
  if given and given ~= '' then return tonumber(given), string.sub(given, -7) end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000), string.sub(time[1] .. time[2], -7)
end
