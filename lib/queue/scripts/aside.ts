/**
 * Reads tasks from a set, and puts aside those that cannot be read. Needs `BASE` and `MOVES`. `sort()` only reads, `putAside()` writes. If the hash of such
 * a task is of no use to anybody, it expires with the entry.
 */
export const ASIDE: string = String.raw`
local UNREADABLE, ASIDE_MS, MOST_ASIDE = META .. ':unreadable', '604800000', 1000
local KIND, STATUS, CREATED, ATTEMPT, ATTEMPTS, PRIORITY, PROGRESS, PLACE = 1, 3, 4, 5, 6, 7, 8, 9
local ONCE, WATCHED, MORE, PAYLOAD, STARTED, OPTIONS, TOKEN = 10, 11, 12, 13, 14, 15, 16

local function isWithin(value, least, most)
  if not value then return true end
  local number = #value <= 24 and finite(value)
  return number and number >= least and number <= most
end

local function isWhole(value, most) return not value or #value <= 16 and not string.find(value, '%D') and isWithin(value, 0, most) end

-- The fields of a task, and whether they are those of a task of this queue in that state. The third answer says that the hash
-- is of no use.
local function stored(id, status)
  if not isId(id) then return {}, false, false end
  local got, isOther = fields(TASK .. id, 'kind', 'queue', 'status', 'createdAt', 'attempt', 'attempts', 'priority', 'progress',
    'place', 'once', 'watched', 'more', 'payload', 'startedAt', 'options', 'token')
  local isSound = not isOther and got[KIND] and #got[KIND] > 0 and #got[KIND] <= 512 and got[2] and got[CREATED] and got[PAYLOAD]
    and #got[CREATED] > 0 and isWhole(got[CREATED], 8.64e15) and isWhole(got[STARTED], 8.64e15)
    and isWhole(got[ATTEMPT], 1e6) and isWhole(got[ATTEMPTS], 1000) and got[ATTEMPTS] ~= '0' and isWithin(got[PRIORITY], -100, 100)
    and isWithin(got[PROGRESS], 0, 100) and isWithin(got[PLACE], -1e18, 1e18)
  return got, isSound and got[2] == NAME and got[STATUS] == status, not isSound and (not got[2] or got[2] == NAME)
end

local aside = {}

-- The tasks of a page with scores that can be read, each with its id, fields and score.
local function sort(set, page, status, needsPlace)
  local found = {}
  for index = 1, #page, 2 do
    local id, score = page[index], page[index + 1]
    local got, isFit, isUseless = stored(id, status)
    if isFit and finite(score) and (got[PLACE] or not needsPlace) then
      found[#found + 1] = {id, got, type(score) == 'string' and score or text(score)}
    else
      aside[#aside + 1] = {set, id, isUseless or isFit and not finite(score) or isFit and needsPlace and not got[PLACE]}
    end
  end
  return found
end

-- Ids become parts of keys and cursors: other characters are written as in a URL.
local function nameOf(id)
  if isId(id) then return id end
  if id == '' then return '%' end
  local name = string.gsub(string.sub(id, 1, 200), '[^%w_-]', function(char) return string.format('%%%02X', string.byte(char)) end)
  return #id > 200 and name .. '...' or name
end

local function putAside()
  for index = 1, #aside do
    local set, id, expires = unpack(aside[index])
    call('ZADD', UNREADABLE, text(now), nameOf(id))
    call('ZREM', set, id)
    if expires then call('PEXPIRE', TASK .. id, ASIDE_MS) end
  end
  if #aside == 0 then return end
  count('unreadable', #aside)
  aside = {}
  call('ZREMRANGEBYSCORE', UNREADABLE, '-inf', text(now - tonumber(ASIDE_MS)))
  local surplus = tonumber(call('ZCARD', UNREADABLE)) - MOST_ASIDE
  if surplus > 0 then call('ZREMRANGEBYRANK', UNREADABLE, '0', text(surplus - 1)) end
  call('PEXPIRE', UNREADABLE, ASIDE_MS)
end
`;
