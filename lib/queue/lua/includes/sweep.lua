-- Runs once a minute. Removes expired tasks from the sets. If a set is small, it also counts its bytes again,
-- because another program may have changed the set.

--- @include "base"
--- @include "ends"

local function sweep()
  local most = 0
  for _, status in ipairs({'succeeded', 'failed', 'cancelled'}) do
    local set, page = META .. ':' .. status, expiredOf(status, '1000')
    drop(status, page)
    -- These ids are removed now. finish() must not subtract their bytes again.
    expired[status] = {}
    most = math.max(most, #page / 2)
    local last = call('ZRANGE', set, '-1', '-1', 'WITHSCORES')
    local time = #last > 0 and scoreOf(last[2])
    if time then expireSet(status, time) end
    if tonumber(call('ZCARD', set)) <= 1000 then
      local all, bytes = call('ZRANGE', set, '0', '-1', 'WITHSCORES'), 0
      for index = 2, #all, 2 do bytes = bytes + sizeOf(all[index]) end
      call('HSET', META, 'bytes:' .. status, text(bytes))
    end
  end
  if most < 1000 then call('HSET', META, 'sweptAt', NOW) end
end
