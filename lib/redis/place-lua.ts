/**
 * Lua for every script that reads the hash of a log: checks that `e` and `o` are an epoch and an offset, and that
 * `end` is an ending. Any program may have written these fields, and Redis does not undo a script that fails
 * half-way. Offsets have at most 15 digits, so that Lua and JavaScript count them exactly.
 */
export const IS_PLACE: string = `
local function isPlace(epoch, offset)
  return type(epoch) == 'string' and #epoch == 8 and not string.find(epoch, '[^0-9a-f]') and epoch ~= '00000000'
    and type(offset) == 'string' and #offset > 0 and #offset <= 15 and not string.find(offset, '%D')
end

local function isEnding(ending) return ending == 'completed' or ending == 'broken' end

local function isWrongType(reply)
  return type(reply) == 'table' and reply.err and string.find(reply.err, 'WRONGTYPE', 1, true)
end

-- Whether XADD was refused because another program has written to the log, and not because a right is missing.
local function isSpoilt(added)
  if type(added) ~= 'table' or not added.err then return false end
  return isWrongType(added) or string.find(added.err, 'equal or smaller', 1, true) ~= nil
end

-- Whether redis.pcall() found a hash that is neither empty nor a place. Returns false if Redis refused the read.
local function isBroken(got, epochAt, offsetAt)
  if got.err then return isWrongType(got) end
  local epoch, offset = got[epochAt], got[offsetAt]
  if type(epoch) ~= 'string' and type(offset) ~= 'string' then return false end
  return not isPlace(epoch, offset)
end

-- Whether the hash has no place, and yet says how its log has ended, or who writes it.
local function isAlone(got, epochAt, endingAt, writerAt)
  if got.err or type(got[epochAt]) == 'string' then return false end
  return type(got[endingAt]) == 'string' or type(got[writerAt]) == 'string'
end
`;

/**
 * Lua for every script that appends to a log. A stamp is seven digits of the time at which the event was published: the last
 * ones of the reply to `TIME`, which is seconds and then microseconds without leading zeros. It distinguishes the event from
 * another event at the same offset. A stamp stays text, because formatting a number costs as much as a command.
 */
export const STAMP: string = `
-- A stamp as it was stored; empty if the hash has no stamp, or another program has written it.
local function checkStamp(stored)
  return type(stored) == 'string' and string.find(stored, '^%d%d%d%d%d%d%d$') and stored or ''
end

-- A stamp that differs from the given one. An event has it as the stamp of the event before it if Redis has lost an event.
local function otherThan(stamp) return stamp == '0000001' and '0000002' or '0000001' end
`;
