-- Pauses or resumes a queue.
--
-- KEYS     as in `includes/base.lua`
-- ARGV     the five of `includes/base.lua`, then:
-- ARGV[6]  '1' to pause, '0' to resume
-- Result   1
-- Errors   '!' if a key has another type; Redis errors

--- @include "includes/base"

look('HLEN', META)
if unfit then return UNFIT end
if ARGV[6] == '1' then
  call('HSET', META, 'paused', '1')
else
  call('HDEL', META, 'paused')
  try('PUBLISH', WAKE, 'ready')
end
return 1
