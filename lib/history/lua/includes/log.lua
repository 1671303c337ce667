-- Shared by all scripts of a channel's history. `docs/protocol.md` describes the data for other programs.
--
-- The log is a Redis stream with the offsets as ids. The hash beside it has the state of the log:
--
-- - `e`: the epoch of the log. `o`: the newest offset. `s`: the stamp of the newest event. After a failover has
--   lost an event, Redis may put another event at the same offset: the stamp distinguishes them. In the id of
--   an entry, the stamps of the previous event and of this event follow the offset (`lib/entry-id.ts`).
-- - `r`: the time until which a publish only appends; 0 if the channel is finite or has a writer.
-- - `c`: two checkpoints "offset time offset time", which turn an age into a length.
-- - `end`: how the channel was completed. `k`: set if the channel will be completed. `t`: set if the log lives
--   as long as the task of the channel.
-- - `w` and `wt`: the writer that has the whole channel, and when its lease expires.
-- - `p:<producer>`: the number and the time of the producer's last event.
--
-- The hash lives longer than the log, so that a late reader learns that a log existed. Reading creates neither
-- key, and a channel that never had an event has neither. Another program may have written the fields, so the
-- scripts check them before use (`isPlace()`). Readers treat an invalid log as no log, and the next event
-- begins a new log.
--
-- KEYS     always the hash and the log. The Lua must run on all servers and on ioredis-mock: no cjson, whole
--          numbers of 32 bits, and a missing value may be an object.

--- @include "time"
--- @include "../../../redis/lua/includes/place"
--- @include "../../../redis/lua/includes/stamp"

-- Adds an entry to the log. Returns the error if Redis refuses it. If another program has damaged the log, a new log starts with
-- this event. Otherwise Redis would refuse every later event.
local function add(maxAge, ...)
  local added = redis.pcall('XADD', KEYS[2], 'MAXLEN', ...)
  if isSpoilt(added) then
    redis.call('DEL', KEYS[2])
    added = redis.pcall('XADD', KEYS[2], 'MAXLEN', ...)
    redis.call('PEXPIRE', KEYS[2], text(maxAge * 1.5))
  end
  return type(added) == 'table' and added.err and added or nil
end

-- The reply of HMGET, with false for a missing field.
local function values(got, count)
  for index = 1, count do
    if type(got[index]) ~= 'string' then got[index] = false end
  end
  return got
end

local function fields(...) return values(redis.call('HMGET', KEYS[1], ...), select('#', ...)) end

local function push(list, name, value)
  list[#list + 1] = name
  list[#list + 1] = value
end

--- @include "../../../redis/lua/includes/array"

-- Returns the offset of an entry, its fields, and its id. ioredis-mock appends text to the id.
local function open(entry)
  entry = array(entry)
  local values, flat = {e = '', d = '', p = '', ['end'] = ''}, array(entry[2])
  for index = 1, #flat, 2 do values[flat[index]] = flat[index + 1] end
  return string.match(entry[1], '^%d+'), values, string.match(entry[1], '^%d+%-%d+')
end

-- Deletes old producers, because each deploy starts new ones.
local function forgetProducers(now)
  local all = redis.call('HGETALL', KEYS[1])
  for index = 1, #all, 2 do
    local seen = string.match(all[index], '^p:') and string.match(all[index + 1], ' (%d+)$')
    if seen and now - tonumber(seen) > 600000 then redis.call('HDEL', KEYS[1], all[index]) end
  end
end

-- Returns the newest offset that is too old. A checkpoint is an offset and a time: all events up to this offset were published before
-- this time. The hash has two checkpoints, half the maximum age apart.
local function expired(log, now, maxAge)
  local a, at, b, bt = string.match(log.checkpoints or '', '^(%d+) (%d+) (%d+) (%d+)$')
  if not a then return 0 end
  if now - bt >= maxAge * 1.5 then return log.top end
  if now - bt >= maxAge then return tonumber(b) end
  if now - at >= maxAge then return tonumber(a) end
  return 0
end

-- Appends one event, and rotates the checkpoints if necessary. The steps that can fail come first. They are undone if PUBLISH is
-- refused.
local function append(log, new)
  local offset, now = text(log.top + 1), text(new.now)
  local keep = math.min(new.maxLength, log.top + 1 - expired(log, new.now, new.maxAge))
  local before = checkStamp(not log.fresh and log.stamp)
  if new.lost and before ~= '' then before = otherThan(before) end
  local id = offset .. '-' .. before .. new.stamp
  local changes = {'e', log.epoch, 'o', offset, 's', new.stamp}
  if new.producer ~= '' then push(changes, 'p:' .. new.producer, new.sequence .. ' ' .. now) end
  local checkpoints = log.checkpoints and string.match(log.checkpoints, '^%d+ %d+ %d+ %d+$')
  local at, b, bt = string.match(checkpoints or '0 0 0 ' .. now, '^%d+ (%d+) (%d+) (%d+)$')
  local rotate = not checkpoints or new.now - bt >= new.maxAge / 2
  if rotate then
    local nextTime = checkpoints and math.min(new.now, bt + new.maxAge / 2) or new.now
    push(changes, 'c', b .. ' ' .. bt .. ' ' .. text(log.top) .. ' ' .. text(nextTime))
    at, bt = bt, nextTime
  end
  local special = new.ending ~= '' or new.finite ~= '' or log.special
  local due = bt + new.maxAge / 2
  if at + new.maxAge > new.now then due = math.min(due, at + new.maxAge) end
  push(changes, 'r', special and '0' or text(due))
  if new.ending ~= '' then push(changes, 'end', new.ending) end
  if special then push(changes, 'k', '1') end
  local names = {}
  for index = 1, #changes, 2 do names[#names + 1] = changes[index] end
  local old = fields(unpack(names))
  redis.call('HSET', KEYS[1], unpack(changes))

  local entry, place = {'e', new.event, 'd', new.data}, log.epoch .. ' ' .. id
  if new.producer ~= '' then push(entry, 'p', new.producer .. ' ' .. new.sequence) end
  if new.ending ~= '' then
    push(entry, 'end', new.ending)
    place = place .. ' ' .. new.ending
  end
  local message = '\30sse1\n' .. place .. '\n' .. new.event .. '\n' .. new.data
  local receivers = redis.pcall('PUBLISH', new.channel, message)
  if type(receivers) == 'table' then
    -- An ACL rule denies the channel. Undo all changes.
    for index, name in ipairs(names) do
      if old[index] then
        redis.call('HSET', KEYS[1], name, old[index])
      elseif type(redis.pcall('HDEL', KEYS[1], name)) == 'table' then
        -- An ACL rule can deny HDEL. An empty field counts as missing.
        redis.call('HSET', KEYS[1], name, '')
      end
    end
    return receivers
  end
  if log.fresh then redis.call('DEL', KEYS[2]) end
  local refused = add(new.maxAge, text(keep), id, unpack(entry))
  if refused then return refused end
  if rotate then
    redis.call('PEXPIRE', KEYS[2], text(new.maxAge * 1.5))
    redis.call('PEXPIRE', KEYS[1], text(new.maxAge * 1.5 + 86400000))
    forgetProducers(new.now)
  end
  return {'ok', log.epoch, id, receivers}
end
