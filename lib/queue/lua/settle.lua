-- Ends attempts: each task ends, or returns to the queue.
--
-- KEYS     as in `includes/base.lua`
-- ARGV     the five of `includes/base.lua`, then for each group of attempts with the same outcome:
--          - one value per line: token, outcome ('succeeded', 'failed', 'retry', 'back' or 'unknown'),
--            progress, delay until the next attempt in ms, how long the task is kept in ms, and message. For
--            'unknown', the task returns to the queue until the delay has passed since the first 'unknown';
--            then it fails.
--          - the number of attempts;
--          - for each attempt the id of the task, and the result as JSON or the error.
-- Result   a string with one character for each attempt: '1' if the outcome was accepted, otherwise '0'. If
--          the task now has another token, the outcome is not accepted and counts as refused. The same
--          outcome sent again gets the same answer.
-- Errors   '!' if a key has another type; Redis errors

--- @include "includes/base"
--- @include "includes/moves"
--- @include "includes/ends"

-- The functions are created when one of them is first called, as in `includes/rare-tell.lua`.
local rare = setmetatable({}, {__index = function(made, name)
  --- @include "includes/tell"
  --- @include "includes/conclude"
  made.tell = tell
  made.watch = watch
  made.conclude = conclude
  made.lengthOf = lengthOf
  return rawget(made, name) or error(name)
end})

local answers, refused, retried, unknown = {}, 0, 0, 0
local token, verdict, progress, delay, ttl, message, last, constant
-- All tasks are read before the first write, so that an unreadable task does not stop the script half-way. Of a plain
-- task that succeeded, only a few fields are read. `size` is the length of its payload.
local stored, most, first = {}, tonumber(MOST_PAYLOAD), 6
while first < #ARGV do
  last = first + 2 * ARGV[first + 1]
  verdict = string.match(ARGV[first], '^[^\n]*\n(%a+)')
  local isPlain = verdict == 'succeeded' and KEEP ~= ''
  if verdict == 'succeeded' or verdict == 'failed' then lookAt(verdict) else areUnfit(READY, DELAYED) end
  if verdict == 'unknown' then lookAt('failed') end
  for index = first + 2, last, 2 do
    local id = ARGV[index]
    local before = stored[id]
    if not before or before.size then
      local got = fields(TASK .. id, 'token', 'payload', 'by', 'watched', 'more')
      local payload = got[2]
      if isPlain and not before and payload and #payload <= most and not (got[3] or got[4] or got[5]) then
        got.size = #payload
      else
        got = fields(TASK .. id, 'token', 'payload', 'by', 'watched', 'once', 'attempt', 'data', 'error', 'options', 'unknownAt', 'place')
      end
      stored[id] = got
    end
  end
  first = last + 2
end
if not unfit then insist() end
if unfit then return UNFIT end

local function over(id, result)
  local got = stored[id]
  local isMine, size = got[1] == token, got.size
  if got[3] == token then return '1' end
  if isMine and size then
    leave(LEASES, id)
    got[1], got[3] = '', token
    size = size + #result + #id + constant
    -- A plain task has no earlier message to replace.
    if message == '' then
      close(id, verdict, ttl, size, 'progress', progress, 'by', token, 'result', result)
    else
      close(id, verdict, ttl, size, 'progress', progress, 'by', token, 'result', result, 'message', message)
    end
    return '1'
  end
  if not isMine or not finite(got[6]) or not finite(got[11]) then
    -- An unreadable task is set aside when its lease expires.
    refused = refused + 1
    return '0'
  end
  local key = TASK .. id
  local task = {status = verdict, progress = progress, message = message, attempt = got[6], watched = got[4], once = got[5],
    payload = got[2], stored = rare.lengthOf(got[7], got[8], got[9])}
  leave(LEASES, id)
  got[1], got[3] = '', token
  local verdict, wait = verdict, tonumber(delay)
  if verdict == 'unknown' then
    -- The wait grows from 1 to 30 seconds: another worker may have a handler now, or only after the deploy.
    local since = finite(got[10]) or now
    local left = since + wait - now
    wait = math.min(math.max(1000, math.min(now - since, 30000)), left)
    if left <= 0 then
      verdict, task.status = 'failed', 'failed'
    else
      call('HSET', key, 'unknownAt', text(since))
      unknown = unknown + 1
    end
  elseif got[10] then
    call('HDEL', key, 'unknownAt')
  end
  if verdict == 'succeeded' or verdict == 'failed' then
    -- The error of an earlier attempt is replaced, or is not needed after a success.
    if got[8] then task.stored = task.stored - #got[8] end
    if got[8] and verdict == 'succeeded' then call('HDEL', key, 'error') end
    rare.conclude(id, task, ttl, 'by', token, verdict == 'succeeded' and 'result' or 'error', result)
  else
    rare.watch(id)
    local due = now + wait
    task.status = due > now and 'delayed' or 'queued'
    if verdict == 'retry' then retried = retried + 1 else task.attempt = text(tonumber(got[6]) - 1) end
    call('HSET', key, 'by', token, 'token', '', 'status', task.status, 'attempt', task.attempt, 'progress', progress,
      'message', message, 'error', result, 'due', text(due))
    if due > now then later(DELAYED, text(due), id) else later(READY, got[11], id) end
    rare.tell(id, verdict == 'retry' and 'retry' or 'requeued', task)
  end
  return '1'
end
first = 6
while first < #ARGV do
  last = first + 2 * ARGV[first + 1]
  token, verdict, progress, delay, ttl, message = string.match(ARGV[first], '^(.-)\n(.-)\n(.-)\n(.-)\n(.-)\n(.*)$')
  constant = 408 + #message + #token
  for index = first + 2, last, 2 do answers[#answers + 1] = over(ARGV[index], ARGV[index + 1]) end
  first = last + 2
end
local wake = lists[READY] or lists[DELAYED]
move()
finish()
if refused > 0 then count('refused', refused) end
if retried > 0 then count('retried', retried) end
if unknown > 0 then count('unknownKind', unknown) end
if wake then try('PUBLISH', WAKE, 'ready') end
return table.concat(answers)
