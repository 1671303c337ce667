-- Ends a task of any kind.

--- @include "base"
--- @include "moves"
--- @include "tell"
--- @include "ends"

-- Number of bytes of the fields that earlier scripts have stored.
local function lengthOf(data, errors, options) return #(data or '') + #(errors or '') + #(options or '') end

-- Ends a task. `task` has its status, progress, message, attempt, payload, whether it is watched, and optionally
-- `stored`, the result of `lengthOf()`. Further arguments are names and values of more fields.
local function conclude(id, task, ttl, ...)
  local key, payload, more = TASK .. id, task.payload or '', {...}
  local size, keeps = 400 + #id + #(task.message or ''), task.status == 'failed' or #payload <= tonumber(MOST_PAYLOAD)
  size = size + (task.stored or lengthOf(unpack(fields(key, 'data', 'error', 'options'), 1, 3)))
  for index = 1, #more do size = size + #more[index] end
  if keeps then size = size + #payload else push(more, 'payload', '', 'released', '1') end
  if task.watched then
    -- If an ACL rule denies MEMORY USAGE, the size is estimated from the number of events.
    local bytes = tonumber(try('MEMORY', 'USAGE', LOG .. id))
    size = size + (bytes or 200 * (tonumber(try('XLEN', LOG .. id)) or 0))
  end
  close(id, task.status, ttl, size, 'progress', task.progress, 'message', task.message, unpack(more))
  if task.once then
    if holderOf(task.once) == id then call('DEL', META .. ':once:' .. task.once) end
  end
  if KEEP == '' or task.watched then
    tell(id, task.status, task, 'completed')
    if KEEP ~= '' then expireLog(id, ttl) end
  end
end
