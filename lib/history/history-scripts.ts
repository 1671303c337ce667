import { isMock, type RedisClient } from "../redis/client.js";
import { defineScript } from "../redis/script.js";
import type { HistoryKeys } from "./history-keys.js";

/**
 * The two scripts that touch a channel's history; `docs/protocol.md` states them for other programs.
 *
 * The log is a stream whose ids are the offsets. The hash beside it says where the log stands: `e` its epoch,
 * `o` its newest offset, `end` how it was completed, `k` that it will be, `c` two checkpoints by which age becomes
 * a length, `w` and `wt` who is writing it as a whole and until when that counts, `p:<producer>` what that
 * producer has published last. The hash lives longer than the log, so that a reader who comes late learns that
 * there was something.
 *
 * Lua of all servers and of ioredis-mock: no cjson, whole numbers in 32 bits on the mock.
 */
const COMMON = `
local unpack = unpack or table.unpack
local function text(number) return string.format('%.0f', number) end
local function clock(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000.0 + math.floor(tonumber(time[2]) / 1000)
end

-- What is not there is false in Redis, and an object in ioredis-mock.
local function fields(...)
  local got = redis.call('HMGET', KEYS[1], ...)
  for index = 1, select('#', ...) do
    if type(got[index]) ~= 'string' then got[index] = false end
  end
  return got
end

-- A list within a list counts from 0 in ioredis-mock.
local function array(list)
  if type(list) == 'table' then return list end
  local copy = {}
  for index = 1, list.length do copy[index] = list[index - 1] end
  return copy
end

-- The offset of a log's entry, and its fields.
local function open(entry)
  entry = array(entry)
  local values, flat = {e = '', d = '', p = '', ['end'] = ''}, array(entry[2])
  for index = 1, #flat, 2 do values[flat[index]] = flat[index + 1] end
  return string.match(entry[1], '^%d+'), values
end

-- Appends one event and publishes it. What could fail is tried first: then nothing is half done.
local function append(state, new)
  local changes = {'e', state.epoch, 'o', text(state.top + 1)}
  local function set(name, value)
    changes[#changes + 1] = name
    changes[#changes + 1] = value
  end
  local offset = state.top + 1
  local keep = new.maxLength
  -- Two checkpoints, half the age apart: what was there at the older one is dropped when that is old enough.
  local a, at, b, bt = string.match(state.checkpoints or '', '^(%d+) (%d+) (%d+) (%d+)$')
  local rotate = not a or new.now - tonumber(bt) >= new.maxAge / 2
  if a and new.now - tonumber(at) >= new.maxAge then keep = math.min(keep, offset - tonumber(a)) end
  if rotate then set('c', (b or '0') .. ' ' .. (bt or text(new.now)) .. ' ' .. text(offset) .. ' ' .. text(new.now)) end
  if new.ending ~= '' then set('end', new.ending) end
  if new.finite ~= '' then set('k', '1') end
  if new.producer ~= '' then set('p:' .. new.producer, new.sequence .. ' ' .. text(new.now)) end
  redis.call('HSET', KEYS[1], unpack(changes))

  local place = state.epoch .. ' ' .. text(offset)
  if new.ending ~= '' then place = place .. ' ' .. new.ending end
  local receivers = redis.pcall('PUBLISH', new.channel, '\\30sse1\\n' .. place .. '\\n' .. new.event .. '\\n' .. new.data)
  if type(receivers) == 'table' then
    -- The ACL refuses the channel: as if nothing had been.
    if state.fresh then
      redis.call('DEL', KEYS[1])
      return receivers
    end
    redis.call('HSET', KEYS[1], 'o', text(state.top))
    if new.ending ~= '' then redis.call('HDEL', KEYS[1], 'end') end
    if new.finite ~= '' and not state.finite then redis.call('HDEL', KEYS[1], 'k') end
    if state.checkpoints then
      redis.call('HSET', KEYS[1], 'c', state.checkpoints)
    else
      redis.call('HDEL', KEYS[1], 'c')
    end
    if state.published then
      redis.call('HSET', KEYS[1], 'p:' .. new.producer, state.published)
    elseif new.producer ~= '' then
      redis.call('HDEL', KEYS[1], 'p:' .. new.producer)
    end
    return receivers
  end

  local entry = {'e', new.event, 'd', new.data}
  if new.producer ~= '' then
    entry[5] = 'p'
    entry[6] = new.producer .. ' ' .. new.sequence
  end
  if new.ending ~= '' then
    entry[#entry + 1] = 'end'
    entry[#entry + 1] = new.ending
  end
  redis.call('XADD', KEYS[2], 'MAXLEN', text(keep), text(offset), unpack(entry))
  if rotate then
    redis.call('PEXPIRE', KEYS[2], text(new.maxAge * 1.5))
    redis.call('PEXPIRE', KEYS[1], text(new.maxAge * 1.5 + 86400000))
  end
  if offset % 1024 == 0 then
    -- Producers come and go with every deploy.
    local all = redis.call('HGETALL', KEYS[1])
    for index = 1, #all, 2 do
      local seen = string.match(all[index], '^p:') and string.match(all[index + 1], ' (%d+)$')
      if seen and new.now - tonumber(seen) > 600000 then redis.call('HDEL', KEYS[1], all[index]) end
    end
  end
  return {'ok', state.epoch, text(offset), text(receivers)}
end
`;

const PUBLISH = `${COMMON}
local got = fields('e', 'o', 'end', 'c', 'w', 'p:' .. ARGV[8], 'k')
local state = {epoch = got[1], top = tonumber(got[2] or '0'), checkpoints = got[4], published = got[6], finite = got[7]}
local new = {channel = ARGV[1], event = ARGV[2], data = ARGV[3], ending = ARGV[4], maxLength = tonumber(ARGV[6]),
  maxAge = tonumber(ARGV[7]), producer = ARGV[8], sequence = ARGV[9], finite = ARGV[11], now = clock(ARGV[12])}
local last = new.producer ~= '' and got[6] and string.match(got[6], '^%d+')
if last and tonumber(new.sequence) <= tonumber(last) then
  -- Sent again, because the answer was lost: where is it?
  local token, newest = new.producer .. ' ' .. new.sequence, '+'
  for page = 1, 100 do
    local entries = redis.call('XREVRANGE', KEYS[2], newest, '-', 'COUNT', '10')
    for _, entry in ipairs(entries) do
      local offset, values = open(entry)
      if values.p == token then return {'ok', state.epoch, offset, '0'} end
      newest = text(tonumber(offset) - 1)
    end
    if #entries < 10 then break end
  end
  return {'ok', state.epoch, '', '0'}
end
if got[3] then return {'completed'} end
if ARGV[10] ~= '' and got[5] ~= ARGV[10] then return {'taken'} end
if not state.epoch then
  state.epoch = ARGV[5]
  state.fresh = true
  redis.call('DEL', KEYS[2])
end
return append(state, new)`;

const READ = `${COMMON}
local got = fields('e', 'o', 'end', 'c', 'k', 'w', 'wt')
local state = {epoch = got[1], top = tonumber(got[2] or '0'), checkpoints = got[4]}
local ending = got[3]
if not state.epoch then
  -- Whoever only listens stands somewhere too, and can say so when they come back.
  state.epoch = ARGV[5]
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'e', state.epoch, 'o', '0')
end
if got[6] and not ending then
  local now = clock(ARGV[9])
  if now > tonumber(got[7]) then
    -- Its writer is gone without a word. Publishing may be refused to a reader: then the next one tries.
    local done = append(state, {channel = ARGV[8], event = '', data = '', ending = 'broken', maxLength = 1000000,
      maxAge = tonumber(ARGV[7]), producer = '', sequence = '', finite = '', now = now})
    if done[1] == 'ok' then
      state.top = state.top + 1
      ending = 'broken'
    end
  end
end
if ARGV[6] ~= '' then redis.call('PEXPIRE', KEYS[1], state.top == 0 and ARGV[6] or text(tonumber(ARGV[7]) * 1.5 + 86400000)) end
local reply = {state.epoch, text(state.top), ending or '', got[5] or ''}
if ARGV[1] ~= state.epoch then return reply end
local count, limit, step = tonumber(ARGV[3]), tonumber(ARGV[4]), 2
local after, bytes = tonumber(ARGV[2]), 0
while count > 0 and bytes < limit and after < state.top do
  local wanted = math.min(step, count)
  local entries = redis.call('XRANGE', KEYS[2], text(after + 1), '+', 'COUNT', text(wanted))
  for _, entry in ipairs(entries) do
    local offset, values = open(entry)
    after = tonumber(offset)
    reply[#reply + 1] = offset
    reply[#reply + 1] = values.e
    reply[#reply + 1] = values.d
    reply[#reply + 1] = values['end']
    bytes = bytes + #values.d
    if bytes >= limit then break end
  end
  if #entries < wanted then break end
  count = count - wanted
  -- Small events come in larger steps; large ones never take the server for long.
  if bytes * 4 < limit then step = math.min(step * 2, 64) end
end
-- Made anew: ioredis-mock takes a table that has grown for none that is a list.
return {unpack(reply)}`;

/** How a finite channel has ended. */
export type Ending = "completed" | "broken";

export interface PublishArguments {
  readonly channel: string;
  /** Empty for none. */
  readonly event: string;
  readonly data: string;
  readonly ending: Ending | "";
  /** Of a log that begins with this event. */
  readonly epoch: string;
  readonly maxLength: number;
  readonly maxAgeMs: number;
  /** Who publishes, and its how many-eth event this is: by both the script knows one that was sent again. */
  readonly producer: string;
  readonly sequence: number;
  /** The lease of who writes the whole channel; empty for one that has none. */
  readonly writer: string;
  /** Whether the channel will be completed one day: who comes late then gets it from its beginning. */
  readonly finite: boolean;
}

/** `offset` is `null` for an event that was sent again and is no longer in the log. */
export type PublishReply =
  | { readonly status: "ok"; readonly epoch: string; readonly offset: number | null; readonly receivers: number }
  | { readonly status: "completed" | "taken" };

const publishScript = defineScript("Publish", PUBLISH, 2, (reply): PublishReply => {
  const [status, epoch = "", offset = "", receivers = "0"] = (reply as readonly unknown[]).map(String);
  if (status !== "ok") return { status: status as "completed" | "taken" };
  return { status, epoch, offset: offset === "" ? null : Number(offset), receivers: Number(receivers) };
});

/** Appends one event to the channel's log and publishes it, in one atomic step that takes effect once. */
export function publishToLog(
  client: RedisClient,
  { position, log }: HistoryKeys,
  call: PublishArguments,
): Promise<PublishReply> {
  const { channel, event, data, ending, epoch, maxLength, maxAgeMs, producer, sequence, writer } = call;
  const finite = call.finite || ending !== "" ? "1" : "";
  const args = [channel, event, data, ending, epoch, maxLength, maxAgeMs, producer, sequence, writer, finite];
  return publishScript(client, [position, log], [...args, timeOf(client)]);
}

export interface ReadArguments {
  readonly channel: string;
  /** The life of the log to read; empty to ask only where it stands. */
  readonly epoch: string;
  readonly after: number;
  readonly maxEvents: number;
  /** Of data; a page holds one event at least. */
  readonly maxBytes: number;
  /** Of a log that this reader is the first to ask for. */
  readonly newEpoch: string;
  /** How long the place of a log that is still empty is remembered. */
  readonly quietTtlMs: number;
  readonly maxAgeMs: number;
}

export interface LogEntry {
  readonly offset: number;
  readonly event: string;
  readonly data: string;
  readonly ending: Ending | "";
}

/** The log as one read has found it. The entries are in order, and those of `epoch` as it was asked for. */
export interface ReadReply {
  readonly epoch: string;
  readonly top: number;
  readonly ending: Ending | "";
  readonly finite: boolean;
  readonly entries: readonly LogEntry[];
}

const readScript = defineScript("ReadLog", READ, 2, (reply): ReadReply => {
  const [epoch = "", top = "0", ending = "", finite = "", ...rest] = (reply as readonly unknown[]).map(String);
  const entries: LogEntry[] = [];
  for (let index = 0; index + 3 < rest.length; index += 4) {
    const [offset, event = "", data = "", own = ""] = rest.slice(index, index + 4);
    entries.push({ offset: Number(offset), event, data, ending: toEnding(own) });
  }
  return { epoch, top: Number(top), ending: toEnding(ending), finite: finite !== "", entries };
});

/** Reads one page of a channel's log, bounded in events and in bytes, and where the log stands. */
export function readFromLog(
  client: RedisClient,
  { position, log }: HistoryKeys,
  call: ReadArguments,
): Promise<ReadReply> {
  const { channel, epoch, after, maxEvents, maxBytes, newEpoch, quietTtlMs, maxAgeMs } = call;
  const args = [epoch, after, maxEvents, maxBytes, newEpoch, quietTtlMs, maxAgeMs, channel];
  return readScript(client, [position, log], [...args, timeOf(client)]);
}

/** Redis' own clock decides; ioredis-mock's goes back once in each second. */
function timeOf(client: RedisClient): number | "" {
  return isMock(client) ? Date.now() : "";
}

function toEnding(text: string): Ending | "" {
  return text === "completed" || text === "broken" ? text : "";
}
