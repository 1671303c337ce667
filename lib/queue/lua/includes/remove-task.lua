-- Deletes a task. If it has not ended, clients that watch it get an event with the status
-- `cancelled`.

--- @include "base"
--- @include "tell"
--- @include "ends"

local function remove(id)
  local got = fields(TASK .. id, 'status', 'progress', 'attempt', 'watched')
  if not got[1] or isOver(got[1]) or KEEP ~= '' and not got[4] then return forget(id) end
  local progress = finite(got[2]) and got[2] or '0'
  tell(id, 'cancelled', {status = 'cancelled', progress = progress, message = 'removed', attempt = got[3] or '0'}, 'completed')
  call('DEL', TASK .. id)
  if KEEP ~= '' then expireLog(id, '60000') end
end
