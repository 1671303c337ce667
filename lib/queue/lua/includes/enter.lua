-- Adds tasks to the queue. The including script defines `FIRST`, the index of the first argument of the first
-- task, and `advance()`, which runs after all reads and before the first task is written.
--
-- ARGV[6]  '1' to add either all of the tasks or none of them; otherwise ''
-- ARGV[7]  id of this call. If the answer is lost, ioredis sends the call again: then it finds its own tasks.
-- ARGV     from FIRST on, four for each task: id, kind, payload, and extra fields. The extra fields are '' or
--          these, one per line: whether the caller chose the id, priority, due time ("+ms" or a time),
--          attempts, how long the deduplication key counts in ms, options, deduplication key.
-- Result   {'taken', id}, or the time and then for each task 'ok', 'ok <time>' if this same call added it
--          before, 'taken', or 'same <id>'
-- Errors   '!' if a key has another type

--- @include "base"
--- @include "moves"
--- @include "rare-tell"

local whole, caller = ARGV[6], ARGV[7]
local total = (#ARGV - FIRST + 1) / 4
-- All tasks and keys are read once, before the first write. Each write also updates these tables. Of a task they
-- contain its call, its time and its queue.
local tasks, holders = {}, {}
local function taskOf(id)
  local got = tasks[id]
  if got then return got end
  local isOther
  got, isOther = fields(TASK .. id, 'call', 'createdAt', 'queue')
  if isOther then got[1] = '' end
  tasks[id] = got
  return got
end
local function idOf(once)
  if holders[once] == nil then holders[once] = holderOf(once) end
  return holders[once]
end
local needsDelayed = false
for index = 0, total - 1 do
  local at = FIRST + index * 4
  local id, extra, holder = ARGV[at], ARGV[at + 3], false
  local owner = taskOf(id)[1]
  if extra ~= '' then
    needsDelayed = true
    local once = string.match(extra, '[^\n]*$')
    holder = once ~= '' and idOf(once)
    if holder then taskOf(holder) end
  end
  -- If the task with this id has the same deduplication key, the caller gets that task: this is not an error.
  if owner and whole == '1' and owner ~= caller .. index and holder ~= id then return {'taken', id} end
end
if areUnfit(READY) or needsDelayed and areUnfit(DELAYED) then return UNFIT end
local answers, entered, number = {NOW}, 0, enter(total)
if not number then return UNFIT end
advance()
for index = 0, total - 1 do
  local at = FIRST + index * 4
  local id, kind, payload, extra = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local there, mine, answer = taskOf(id), caller .. index, 'ok'
  local given, priority, due, once, holder = '', '0', now, '', false
  local when, attempts, window, options
  if extra ~= '' then
    given, priority, when, attempts, window, options, once = string.match(extra, '^(.-)\n(.-)\n(.-)\n(.-)\n(.-)\n(.-)\n(.*)$')
    if when ~= '' then due = tonumber(when) + (string.sub(when, 1, 1) == '+' and now or 0) end
    holder = once ~= '' and idOf(once)
  end
  if holder and holder ~= id and taskOf(holder)[3] == NAME then
    answer = 'same ' .. holder
  elseif there[1] then
    answer = there[1] == mine and 'ok ' .. (there[2] or NOW) or holder == id and 'same ' .. id or 'taken'
  else
    local key, place, status = TASK .. id, placeOf(priority, number + index), due > now and 'delayed' or 'queued'
    if extra == '' then
      call('HSET', key, 'call', mine, 'queue', NAME, 'kind', kind, 'payload', payload, 'status', status, 'createdAt', NOW)
    else
      local set = {'call', mine, 'queue', NAME, 'kind', kind, 'payload', payload, 'status', status, 'createdAt', NOW}
      if priority ~= '0' or attempts ~= '' or options ~= '' or once ~= '' then push(set, 'more', '1') end
      if priority ~= '0' then push(set, 'priority', priority) end
      if attempts ~= '' then push(set, 'attempts', attempts) end
      if options ~= '' then push(set, 'options', options) end
      if status == 'delayed' then push(set, 'place', place, 'delayed', text(due)) end
      if once ~= '' then
        if window == '' then
          push(set, 'once', once)
          call('SET', META .. ':once:' .. once, id)
        else
          call('SET', META .. ':once:' .. once, id, 'PX', window)
        end
        holders[once] = id
      end
      call('HSET', key, unpack(set))
    end
    there[1], there[2], there[3] = mine, NOW, NAME
    if status == 'delayed' then later(DELAYED, text(due), id) else later(READY, place, id) end
    entered = entered + 1
    if KEEP == '' then
      rare.tell(id, 'queued', {status = status, progress = '0', message = '', attempt = '0'})
    elseif given ~= '' then
      -- A client may watch this id already. A log of an earlier task with the same id has ended, and is deleted.
      local hasEnded = rare.isEnding(try('HGET', POS .. id, 'end'))
      if hasEnded then try('DEL', POS .. id, LOG .. id) end
      if not hasEnded and rare.hasLog(id) or rare.isHeard(id) then rare.watch(id) end
    end
  end
  answers[#answers + 1] = answer
end
move()
if entered > 0 then
  count('enqueued', entered)
  try('PUBLISH', WAKE, 'ready')
end
return {unpack(answers)}
