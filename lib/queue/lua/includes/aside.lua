-- Moves the tasks that `sort()` could not read to the set `unreadable`. If the hash of such a task is useless,
-- it expires with the entry.

--- @include "base"
--- @include "moves"
--- @include "stored"

local ASIDE_MS, MOST_ASIDE = '604800000', 1000
-- The name of an id in the set. Names become parts of keys and cursors, so other characters are escaped as in a URL.
local function nameOf(id)
  if isId(id) then return id end
  if id == '' then return '%' end
  local name = string.gsub(string.sub(id, 1, 200), '[^%w_-]', function(char) return string.format('%%%02X', string.byte(char)) end)
  return #id > 200 and name .. '...' or name
end

local function putAside()
  for index = 1, #aside do
    local set, id, expires = unpack(aside[index])
    call('ZADD', UNREADABLE, NOW, nameOf(id))
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
