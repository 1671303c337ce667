-- Deletes a task that is not running.
--
-- KEYS     as in `includes/base.lua`
-- ARGV     the five of `includes/base.lua`, then:
-- ARGV[6]  id, or the name of an entry in the set `unreadable`
-- Result   1 if the task was deleted; 0 if it does not exist; 2 if it is running
-- Errors   '!' if a key has another type; Redis errors

--- @include "includes/base"
--- @include "includes/tell"
--- @include "includes/moves"
--- @include "includes/ends"
--- @include "includes/stored"
--- @include "includes/remove-task"

local name = ARGV[6]
local id = string.gsub(name, '%%(%x%x)', function(code) return string.char(tonumber(code, 16)) end)
if name == '%' then id = '' end
local isCut = string.sub(name, -3) == '...'
local ENDS = {'succeeded', 'failed', 'cancelled'}
local sets = {READY, DELAYED, META .. ':succeeded', META .. ':failed', META .. ':cancelled', UNREADABLE}
if areUnfit(LEASES, unpack(sets)) then return UNFIT end
local isAside, isRunning = isListed(UNREADABLE, name), isListed(LEASES, id)
local got = fields(TASK .. id, 'queue', 'once')
local isMine = isId(id) and got[1] == NAME
if not isAside and not isMine then return 0 end
if isRunning and isMine and not isAside then return 2 end
call('ZREM', UNREADABLE, name)
if isRunning and isMine or isCut or got[1] and got[1] ~= NAME then return 1 end
call('ZREM', READY, id)
call('ZREM', DELAYED, id)
for _, status in ipairs(ENDS) do dropOne(status, id) end
if got[2] and holderOf(got[2]) == id then call('DEL', META .. ':once:' .. got[2]) end
if isAside then forget(id) else remove(id) end
return 1
