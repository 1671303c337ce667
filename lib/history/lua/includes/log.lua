-- For every script of a channel's history. `docs/protocol.md` states what the scripts do for other programs.
--
-- The log is a stream, with the offsets as ids. The hash beside it says where the log stands:
--
-- - `e` its epoch, `o` its newest offset, `s` the stamp of the newest event: by it, an event is told from
--   another that Redis put at the same offset after a failover had lost the first one. The id of an entry has
--   the stamps of the event before and of its own behind the offset (`lib/entry-id.ts`);
-- - `r` until when nothing but appending is to be done: 0 for a channel that is anything special;
-- - `c` two checkpoints "offset time offset time", by which age becomes a length;
-- - `end` how it was completed, `k` that it will be; `t` that it lives as long as the task whose channel it
--   is;
-- - `w` and `wt` who writes it as a whole, and until when that counts;
-- - `p:<producer>` the number and the time of what that producer published last.
--
-- The hash lives longer than the log, so that a reader that comes late learns that a log existed. Reading
-- creates neither key: a channel that never had an event has none. Another program may have written the
-- fields, so they are checked before use (`isPlace()`). Readers treat an invalid log as no log, and the next
-- event begins a new log.
--
-- KEYS     are always the hash and the log. Lua of all servers and of ioredis-mock: no cjson, whole numbers
--          of 32 bits, and what is not there may be an object.

--- @include "time"
--- @include "../../../redis/lua/includes/place"
--- @include "../../../redis/lua/includes/stamp"

-- Adds an entry to the log; returns the error if Redis refuses it. If another program has written to the log, the log begins
-- with this event. Otherwise it would never keep one again.
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

-- A list within a list counts from 0 in ioredis-mock.
local function array(list)
  if type(list) == 'table' then return list end
  local copy = {}
  for index = 1, list.length do copy[index] = list[index - 1] end
  return copy
end

-- The offset of a log's entry, its fields, and its id, behind which ioredis-mock puts more.
local function open(entry)
  entry = array(entry)
  local values, flat = {e = '', d = '', p = '', ['end'] = ''}, array(entry[2])
  for index = 1, #flat, 2 do values[flat[index]] = flat[index + 1] end
  return string.match(entry[1], '^%d+'), values, string.match(entry[1], '^%d+%-%d+')
end

-- Producers come and go with every deploy.
local function forgetProducers(now)
  local all = redis.call('HGETALL', KEYS[1])
  for index = 1, #all, 2 do
    local seen = string.match(all[index], '^p:') and string.match(all[index + 1], ' (%d+)$')
    if seen and now - tonumber(seen) > 600000 then redis.call('HDEL', KEYS[1], all[index]) end
  end
end

-- The newest offset that is too old. A checkpoint says that all up to its offset came before its time; two are kept,
-- half the age apart, and what follows the newer one came before it was time for the next.
local function expired(log, now, maxAge)
  local a, at, b, bt = string.match(log.checkpoints or '', '^(%d+) (%d+) (%d+) (%d+)$')
  if not a then return 0 end
  if now - bt >= maxAge * 1.5 then return log.top end
  if now - bt >= maxAge then return tonumber(b) end
  if now - at >= maxAge then return tonumber(a) end
  return 0
end

-- Appends one event, with all that may be due. What could fail is tried first, and undone where the rest is refused.
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
    -- The ACL refuses the channel: as if nothing had been.
    for index, name in ipairs(names) do
      if old[index] then
        redis.call('HSET', KEYS[1], name, old[index])
      elseif type(redis.pcall('HDEL', KEYS[1], name)) == 'table' then
        -- A reader need not have that right. An empty field counts as none.
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
