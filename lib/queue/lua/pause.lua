-- Pauses a queue, or lets it go on.
--
-- KEYS     those of `includes/base.lua`
-- ARGV     five of `includes/base.lua`, then:
-- ARGV[6]  '1' to pause, '0' to go on
-- Result   1
-- Errors   '!' for a key of another type; those of Redis

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
