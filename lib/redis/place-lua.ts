/**
 * Lua for every script that reads where a log stands: whether the fields `e` and `o` of its hash say so, and `end` how it has
 * ended. Any program may have written them, and a script that fails half-way would leave what it has done. Offsets are those
 * that Lua and JavaScript count exactly, with room to spare.
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

-- Whether what redis.pcall() has got of the hash is something else than a place, or nothing. Answers false without a right.
local function isBroken(got, epochAt, offsetAt)
  if got.err then return isWrongType(got) end
  local epoch, offset = got[epochAt], got[offsetAt]
  if type(epoch) ~= 'string' and type(offset) ~= 'string' then return false end
  return not isPlace(epoch, offset)
end
`;
