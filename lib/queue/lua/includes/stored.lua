-- Reads and checks tasks: `stored()` reads one task, `sort()` reads the tasks of a page of a set.

--- @include "base"

local UNREADABLE = META .. ':unreadable'
local KIND, QUEUE, _, CREATED, PAYLOAD, ATTEMPT, WATCHED, MORE = 1, 2, 3, 4, 5, 6, 7, 8
local ATTEMPTS, PRIORITY, PROGRESS, PLACE, ONCE, STARTED, OPTIONS, TOKEN = 9, 10, 11, 12, 13, 14, 15, 16

local function isWithin(value, least, most)
  if not value then return true end
  local number = #value <= 24 and finite(value)
  return number and number >= least and number <= most
end

local function isWhole(value, most) return not value or #value <= 16 and not string.find(value, '%D') and isWithin(value, 0, most) end

local soundTime
-- Reads the fields of a task. The second result is true if it is a valid task of this queue in that state. The third
-- result is true if its hash is useless. To save time, the last fields of a queued task are read only if it has
-- options, an earlier attempt or a log.
local function stored(id, status)
  if not isId(id) then return {}, false, false end
  local got, isOther = fields(TASK .. id, 'kind', 'queue', 'status', 'createdAt', 'payload', 'attempt', 'watched', 'more')
  local kind, queue, state, created, payload, attempt, watched, more = unpack(got)
  local isSound = not isOther and queue and payload and kind and #kind > 0 and #kind <= 512 and created
    and (created == soundTime or #created > 0 and isWhole(created, 8.64e15))
  -- Tasks of a page often have the same time, so the last valid time is cached.
  if isSound then soundTime = created end
  if isSound and (attempt or watched or more or status ~= 'queued' or KEEP == '') then
    got = fields(TASK .. id, 'kind', 'queue', 'status', 'createdAt', 'payload', 'attempt', 'watched', 'more', 'attempts', 'priority',
      'progress', 'place', 'once', 'startedAt', 'options', 'token')
    isSound = isWhole(got[STARTED], 8.64e15) and isWhole(got[ATTEMPT], 1e6) and isWhole(got[ATTEMPTS], 1000)
      and got[ATTEMPTS] ~= '0' and isWithin(got[PRIORITY], -100, 100) and isWithin(got[PROGRESS], 0, 100)
      and isWithin(got[PLACE], -1e18, 1e18)
  end
  if isSound and queue == NAME and state == status then return got, true end
  return got, false, not isSound and (not queue or queue == NAME)
end

local aside = {}

-- Returns the valid tasks of a page, as a list of ids, fields and scores. Adds the others to `aside`.
local function sort(set, page, status, needsPlace)
  local found, length = {}, 0
  -- The page is sorted by score. If the first and the last score are finite, all scores are.
  local isFinite = #page == 0 or scoreOf(page[2]) and scoreOf(page[#page])
  for index = 1, #page, 2 do
    local id, score = page[index], page[index + 1]
    local got, isFit, isUseless = stored(id, status)
    if isFit and (isFinite or scoreOf(score)) and (got[PLACE] or not needsPlace) then
      found[length + 1], found[length + 2], found[length + 3] = id, got, score
      length = length + 3
    else
      aside[#aside + 1] = {set, id, isUseless or isFit and not scoreOf(score) or isFit and needsPlace and not got[PLACE]}
    end
  end
  return found
end
