-- Shared by the scripts of tickets. A ticket is the text "revocation token stream rights": the id of the newest revocation with
-- which it was compared, the hash of the client's token, the id of its stream, and its rights as JSON. The token and the stream
-- of an unused ticket are "-".
--
-- SET writes a ticket and its expiry with one command. So no error can leave a ticket that never expires.

-- Returns the four parts of a ticket; nothing if it is unknown. ioredis-mock returns an object for a missing value.
local function open(key)
  local ticket = redis.call('GET', key)
  if type(ticket) ~= 'string' then return nil end
  return string.match(ticket, '^(%d+) (%S+) (%S+) (.*)$')
end

local function store(key, revocation, token, stream, rights, ttlMs)
  redis.call('SET', key, revocation .. ' ' .. token .. ' ' .. stream .. ' ' .. rights, 'PX', ttlMs)
end
