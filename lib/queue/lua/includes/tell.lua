-- Appends each change of a task to the log of its channel, and publishes the change.

--- @include "base"
--- @include "../../../redis/lua/includes/place"
--- @include "../../../redis/lua/includes/stamp"

-- Makes a different random epoch for each log, because one script can create several logs.
local epochs = 0
local function newEpoch()
  epochs = epochs + 1
  if epochs == 1 then return EPOCH end
  if epochs == 2 then math.randomseed(tonumber(string.sub(EPOCH, 1, 7), 16)) end
  return string.format('%04x%04x', math.random(0, 65535), math.random(1, 65535))
end

-- Whether a task has a log, and events can be appended to it.
local function hasLog(id)
  local at = try('HMGET', POS .. id, 'e', 'o')
  return not at.err and isPlace(at[1], at[2])
end

-- Whether a process is subscribed to a task's channel. If Redis refuses PUBSUB, LogVerifier finds the new log later.
local function isHeard(id)
  local got = try('PUBSUB', 'NUMSUB', 'task_progress:' .. id)
  return not got.err and (tonumber(got[2] or 0) or 0) > 0
end

-- Appends an event to a task's log, and publishes it. Returns the number of the event. If Redis refuses to publish, the
-- script continues, because it must not stop half-way.
local function append(id, name, make, ending)
  local channel = 'task_progress:' .. id
  if KEEP == '' then
    try('PUBLISH', channel, '\30sse1\n\n' .. name .. '\n' .. make('0'))
    return '0'
  end
  local pos, log = POS .. id, LOG .. id
  local at = try('HMGET', pos, 'e', 'o', 'end', 's')
  local isThere = not at.err and isPlace(at[1], at[2])
  if isThere and isEnding(at[3]) then return at[2] end
  -- Data of an earlier log or of another program must not become part of the new log.
  if not isThere then try('DEL', pos, log) end
  local epoch, seq = isThere and at[1] or newEpoch(), text(isThere and at[2] + 1 or 1)
  local stamp = isServer and string.sub(time[1], -1) .. string.sub('00000' .. time[2], -6) or string.sub(NOW, -7)
  local entryId = seq .. '-' .. (isThere and checkStamp(at[4]) or '') .. stamp
  local data, place = make(seq), epoch .. ' ' .. entryId
  local entry, changes = {'e', name, 'd', data}, {'e', epoch, 'o', seq, 's', stamp, 'k', '1', 'r', '0', 't', '1'}
  if ending then
    push(entry, 'end', ending)
    push(changes, 'end', ending)
    place = place .. ' ' .. ending
  end
  -- If the key has another type and could not be deleted, the script continues without the log.
  local kept = try('HSET', pos, unpack(changes))
  if isWrongType(kept) then return '0' end
  if type(kept) == 'table' and kept.err then call('HSET', pos, unpack(changes)) end
  local added = try('XADD', log, 'MAXLEN', KEEP, entryId, unpack(entry))
  if isSpoilt(added) then
    -- The log begins again with this event.
    try('DEL', log)
    try('XADD', log, 'MAXLEN', KEEP, entryId, unpack(entry))
  end
  try('PUBLISH', channel, '\30sse1\n' .. place .. '\n' .. name .. '\n' .. data)
  return seq
end

-- A number for JSON; '0' if another program damaged the field.
local function number(value) return finite(value) and value or '0' end

local function quote(value)
  return '"' .. string.gsub(value, '[%c"\\]', function(char) return string.format('\\u%04x', string.byte(char)) end) .. '"'
end

local function tell(id, kind, task, ending)
  return append(id, '', function(seq)
    return '{"taskId":"' .. id .. '","progress":' .. number(task.progress) .. ',"message":' .. quote(task.message)
      .. ',"status":' .. quote(task.status) .. ',"type":"' .. kind .. '","attempt":' .. number(task.attempt) .. ',"seq":' .. seq
      .. (task.data and ',"data":' .. task.data or '') .. '}'
  end, ending)
end

local function isOver(status) return status == 'succeeded' or status == 'failed' or status == 'cancelled' end

-- Sets the expiry of the log of a task's channel.
local function expireLog(id, ttl)
  call('PEXPIRE', POS .. id, ttl)
  call('PEXPIRE', LOG .. id, ttl)
end

-- Creates the log of a task if it does not exist, with the events so far. Later changes are appended to it. Returns
-- whether it created the log.
local function watch(id)
  -- Without history, each event was published when it happened.
  if KEEP == '' then return false end
  local key = TASK .. id
  local got = fields(key, 'watched', 'status', 'startedAt', 'progress', 'message', 'attempt', 'delayed')
  -- If a server with full memory has deleted the log, it is created again.
  if KEEP == '' or not got[2] or got[1] and hasLog(id) then return false end
  call('HSET', key, 'watched', '1')
  tell(id, 'queued', {status = got[7] and 'delayed' or 'queued', progress = '0', message = '', attempt = '0'})
  if got[3] then tell(id, 'started', {status = 'running', progress = '0', message = '', attempt = got[6] or '1'}) end
  if isOver(got[2]) then
    tell(id, got[2], {status = got[2], progress = got[4] or '0', message = got[5] or '', attempt = got[6] or '0'}, 'completed')
    expireLog(id, text(call('PTTL', key)))
  end
  return true
end
