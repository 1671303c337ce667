-- Lists the tasks of a set in the order of the set.
--
-- KEYS     as in `includes/base.lua`
-- ARGV     the five of `includes/base.lua`, then:
-- ARGV[6]  name of the set
-- ARGV[7]  score to continue after; '' to start at the beginning
-- ARGV[8]  id to continue after; '' to start at the beginning
-- ARGV[9]  maximum number of ids
-- Result   '', then the id and the score of each task
-- Errors   '!' if a key has another type; Redis errors

--- @include "includes/base"
--- @include "includes/tell"

local set, from, after, limit = META .. ':' .. ARGV[6], ARGV[7], ARGV[8], tonumber(ARGV[9])
if areUnfit(set) then return UNFIT end
local score = after ~= '' and call('ZSCORE', set, after)
local page
if (type(score) == 'number' or type(score) == 'string') and shown(score) == from then
  local rank = tonumber(call('ZRANK', set, after))
  page = call('ZRANGE', set, text(rank + 1), text(rank + limit), 'WITHSCORES')
else
  -- The last task of the previous page has left the set or has another score. So the page starts with all tasks of its
  -- earlier score: some can be listed twice, but none is left out. The first page of finished tasks starts after the
  -- current time, because tasks with a lower score have expired.
  local first = from ~= '' and from or isOver(ARGV[6]) and '(' .. NOW or '-inf'
  page = call('ZRANGEBYSCORE', set, first, '+inf', 'WITHSCORES', 'LIMIT', '0', text(limit))
end
local reply = {''}
for index = 1, #page, 2 do push(reply, page[index], shown(page[index + 1])) end
return {unpack(reply)}
