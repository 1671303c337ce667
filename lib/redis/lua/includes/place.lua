-- Shared by all scripts that read the hash of a log. Checks that `e` is an epoch, `o` an offset, and `end` an
-- ending. Any program may have written these fields, and Redis does not undo a script that fails half-way.
-- Offsets have at most 15 digits, so that Lua and JavaScript count them exactly.

local function isPlace(epoch, offset)
  return type(epoch) == 'string' and #epoch == 8 and not string.find(epoch, '[^0-9a-f]') and epoch ~= '00000000'
    and type(offset) == 'string' and #offset > 0 and #offset <= 15 and not string.find(offset, '%D')
end

local function isEnding(ending) return ending == 'completed' or ending == 'broken' end

local function isWrongType(reply)
  return type(reply) == 'table' and reply.err and string.find(reply.err, 'WRONGTYPE', 1, true)
end

-- Whether XADD failed because another program has damaged the log, and not because of an ACL rule.
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

-- Whether the hash has no place, but has an ending or a writer.
local function isAlone(got, epochAt, endingAt, writerAt)
  if got.err or type(got[epochAt]) == 'string' then return false end
  return type(got[endingAt]) == 'string' or type(got[writerAt]) == 'string'
end
