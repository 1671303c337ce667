-- Takes tasks from the queue, in one atomic step:
--
-- 1. Requeues tasks whose leases have expired. After the last attempt, such a task fails.
-- 2. Requeues delayed tasks that are due.
-- 3. Takes the first ready tasks, and records their leases.
--
-- If the answer is lost, no task is lost. Either the same call is sent again and gets the same tasks, or the
-- leases expire. Ids of unreadable tasks are moved to the set `unreadable`.
--
-- KEYS     as in `includes/base.lua`
-- ARGV     the five of `includes/base.lua`, then:
-- ARGV[6]  length of a lease in ms
-- ARGV[7]  maximum number of tasks
-- ARGV[8]  id of this call
-- ARGV[9]  number of attempts, for tasks without their own
-- ARGV[10] how long a failed task is kept, in ms
-- ARGV[11] message of a task whose lease has expired
-- ARGV[12] rate limit: maximum number of tasks that start in an interval; '' for no limit
-- ARGV[13] length of this interval in ms
-- ARGV[14] id of the worker
-- Result   a list: ms until a task may be ready; the time of Redis; id of the call; number of due schedules;
--          for each schedule its name, time and content; then for each task its description (one value per
--          line), its payload and, if it has them, further fields
-- Errors   '!' if a key has another type; Redis errors

--- @include "includes/base"
--- @include "includes/moves"
--- @include "includes/stored"

-- The functions are created when one of them is first called, as in `includes/rare-tell.lua`.
local rare = setmetatable({}, {__index = function(made, name)
  --- @include "includes/tell"
  --- @include "includes/ends"
  --- @include "includes/conclude"
  --- @include "includes/aside"
  --- @include "includes/sweep"
  made.tell = tell
  made.watch = watch
  made.conclude = conclude
  made.lookAt = lookAt
  made.finish = finish
  made.sweep = sweep
  made.putAside = putAside
  return rawget(made, name) or error(name)
end})

local lease, want, caller = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
local claims = META .. ':claim:' .. ARGV[14]

-- The time at which the first task of a set is due.
local function firstOf(set)
  local first = look('ZRANGE', set, '0', '0', 'WITHSCORES')
  if #first == 0 then return 1e300 end
  return tonumber(first[2]) or string.sub(first[2], 1, 1) == '-' and -1e300 or 1e300
end
local function takeDue(set, status, most)
  return sort(set, look('ZRANGEBYSCORE', set, '-inf', NOW, 'WITHSCORES', 'LIMIT', '0', most), status, true)
end
local page = look('ZRANGE', READY, '0', text(math.max(want, 1) - 1), 'WITHSCORES')
local leaseEnds, delayEnds, scheduled = firstOf(LEASES), firstOf(DELAYED), 1e300
-- A time before 1970 is invalid.
local nextSchedule = look('ZRANGEBYSCORE', META .. ':due', '0', '+inf', 'WITHSCORES', 'LIMIT', '0', '1')
if #nextSchedule > 0 then scheduled = scoreOf(nextSchedule[2]) or 1e300 end
local config, isOther = fields(META, 'paused', 'tokens', 'tokensAt', 'sweptAt')
if unfit or isOther then return UNFIT end
local lost, due, schedules, contents = {}, {}, {}, {}
if leaseEnds <= now then lost = takeDue(LEASES, 'running', '100') end
if delayEnds <= now then due = takeDue(DELAYED, 'delayed', '200') end
if scheduled <= now and not config[1] then
  schedules = look('ZRANGEBYSCORE', META .. ':due', '0', NOW, 'WITHSCORES', 'LIMIT', '0', '20')
  for index = 1, #schedules, 2 do
    local content = look('HGET', META .. ':schedules', schedules[index])
    contents[index] = type(content) == 'string' and content or ''
  end
end
local sweeps = math.abs(now - (scoreOf(config[4]) or 0)) >= 60000
if sweeps then
  for _, status in ipairs({'succeeded', 'failed', 'cancelled'}) do rare.lookAt(status) end
  -- A task with an infinite score is never due. Only this search finds it.
  sort(LEASES, look('ZRANGEBYSCORE', LEASES, '+inf', '+inf', 'WITHSCORES', 'LIMIT', '0', '100'), 'running', true)
  sort(DELAYED, look('ZRANGEBYSCORE', DELAYED, '+inf', '+inf', 'WITHSCORES', 'LIMIT', '0', '100'), 'delayed', true)
end
if #aside > 0 then look('ZCARD', UNREADABLE) end
if #lost > 0 then rare.lookAt('failed') end
if unfit then return UNFIT end

insist()
if sweeps then rare.sweep() end
-- Each task returns to its earlier place in the queue.
for index = 1, #lost, 3 do
  local id, got = lost[index], lost[index + 1]
  local attempt = got[ATTEMPT] or '0'
  local task = {attempt = attempt, progress = got[PROGRESS] or '0', once = got[ONCE], watched = got[WATCHED], message = ARGV[11],
    payload = got[PAYLOAD]}
  leave(LEASES, id)
  if tonumber(attempt) >= tonumber(got[ATTEMPTS] or ARGV[9]) then
    task.status = 'failed'
    rare.conclude(id, task, ARGV[10])
  else
    task.status = 'queued'
    rare.watch(id)
    call('HDEL', TASK .. id, 'unknownAt')
    call('HSET', TASK .. id, 'status', 'queued', 'token', '', 'message', task.message)
    -- `settle.lua` replaces the message only of tasks with the field `by`.
    if not fields(TASK .. id, 'by')[1] then call('HSET', TASK .. id, 'by', '') end
    later(READY, got[PLACE], id)
    rare.tell(id, 'retry', task)
  end
end
if #lost > 0 then count('lost', #lost / 3) end
for index = 1, #due, 3 do
  local id, got = due[index], due[index + 1]
  leave(DELAYED, id)
  call('HSET', TASK .. id, 'status', 'queued')
  later(READY, got[PLACE], id)
end
if #lost + #due + #aside > 0 then
  move()
  if #lost > 0 then rare.finish() end
  if #aside > 0 then rare.putAside() end
  page = call('ZRANGE', READY, '0', text(math.max(want, 1) - 1), 'WITHSCORES')
  leaseEnds, delayEnds = firstOf(LEASES), firstOf(DELAYED)
end

local wait, reply = math.min(1e9, leaseEnds - now, delayEnds - now), {''}
if #schedules == 0 and not config[1] then wait = math.min(wait, scheduled - now) end
reply[2], reply[3], reply[4] = NOW, caller, #schedules / 2
for index = 1, #schedules, 2 do push(reply, schedules[index], shown(schedules[index + 1]), contents[index]) end

local function taken(id, got, attempt, startedAt)
  local length, head = #reply, id .. '\n' .. got[CREATED] .. '\n' .. got[KIND]
  reply[length + 1], reply[length + 2] = head, got[PAYLOAD]
  if #got > MORE then
    reply[length + 1] = '+' .. head
    reply[length + 3] = attempt .. '\n' .. startedAt .. '\n' .. (got[ATTEMPTS] or '') .. '\n' .. (got[PRIORITY] or '0') .. '\n'
      .. (got[PROGRESS] or '0') .. '\n' .. (got[OPTIONS] or '')
  end
end

local before = try('GET', claims)
if type(before) == 'string' and string.match(before, '^%S+') == caller then
  for id in string.gmatch(before, ' (%S+)') do
    local got, isFit = stored(id, 'running')
    if isFit and got[TOKEN] == caller then taken(id, got, got[ATTEMPT] or '1', got[STARTED] or NOW) end
  end
  -- The worker may have more room now than at the first call.
  if #page > 0 and not config[1] then wait = 0 end
elseif not config[1] then
  local tokens, at
  if ARGV[12] ~= '' and want > 0 then
    -- A token bucket that fills evenly.
    local most, interval = tonumber(ARGV[12]), tonumber(ARGV[13])
    at = finite(config[3]) or now
    tokens = math.min(most, (finite(config[2]) or most) + math.max(0, now - at) * most / interval)
    local ready = tonumber(call('ZCARD', READY))
    want = math.max(0, math.min(want, math.floor(tokens), ready))
    if ready > want and tokens - want < 1 then wait = math.min(wait, math.ceil((1 - (tokens - want)) * interval / most)) end
  end
  if #page > 2 * want then page = want > 0 and call('ZRANGE', READY, '0', text(want - 1), 'WITHSCORES') or {} end
  local found = sort(READY, page, 'queued')
  if #aside > 0 and areUnfit(UNREADABLE) then return UNFIT end
  -- The bucket is written only if tasks start: otherwise, rounding could lose the tokens of short intervals. It is also
  -- written if the clock was set back.
  if tokens and (#found > 0 or now < at) then
    call('HSET', META, 'tokens', string.format('%.9f', tokens - #found / 3), 'tokensAt', NOW)
  end
  if #aside > 0 then rare.putAside() end
  local record, leases, leased = {caller}, {}, text(now + lease)
  for index = 1, #found, 3 do
    local id, got, place, length = found[index], found[index + 1], found[index + 2], #record
    local key, attempt = TASK .. id, got[ATTEMPT] and text(got[ATTEMPT] + 1) or '1'
    call('HSET', key, 'status', 'running', 'attempt', attempt, 'token', caller, 'startedAt', NOW, 'place',
      type(place) == 'string' and place or text(place))
    record[length + 1], leases[2 * length - 1], leases[2 * length] = id, leased, id
    taken(id, got, attempt, NOW)
    if KEEP == '' or got[WATCHED] then
      -- `began` is the number of this event. Output before it belongs to earlier attempts.
      local began = rare.tell(id, 'started', {status = 'running', progress = got[PROGRESS] or '0', message = '', attempt = attempt})
      call('HSET', key, 'began', began)
    end
  end
  -- If many tasks of the page were set aside, there may be more ready tasks behind them.
  if #found / 3 < #page / 2 then wait = 0 end
  if #found > 0 then
    call('ZADD', LEASES, unpack(leases))
    call('ZREM', READY, unpack(record, 2))
    call('SET', claims, table.concat(record, ' '), 'PX', ARGV[6])
    wait = math.min(wait, lease)
  end
end
reply[1] = math.max(0, wait)
return {unpack(reply)}
