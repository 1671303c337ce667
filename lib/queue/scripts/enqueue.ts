import type { Script } from "../../redis/script.js";
import { BASE, defineQueueScript, MOVES, TELL } from "./base.js";

/**
 * ARGV: whether all or none of them, the call, then of each task: id, kind, payload, and what else was said ('' for
 * nothing): whether the id was given, priority, when ("+ms" or a time), attempts, ms for which it is the only one of
 * its key, options, that key. Answers 'taken' and an id, or the time, and for each 'ok', 'ok <when>' where it was there by this same call,
 * 'taken', or 'same <id>'. A call whose answer was lost is sent again by ioredis: it finds its own tasks.
 */
const ENTER = String.raw`
local whole, caller = ARGV[6], ARGV[7]
local total = (#ARGV - FIRST + 1) / 4
if whole == '1' then
  for index = 0, total - 1 do
    local id, extra = ARGV[FIRST + index * 4], ARGV[FIRST + 3 + index * 4]
    local owner = call('HGET', TASK .. id, 'call')
    local once = extra ~= '' and string.match(extra, '[^\n]*$') or ''
    -- That it is there already is what its key asks for.
    local isSame = once ~= '' and call('GET', META .. ':once:' .. once) == id
    if type(owner) == 'string' and owner ~= caller .. index and not isSame then return {'taken', id} end
  end
end
local answers, entered, number = {text(now)}, 0, enter(total)
for index = 0, total - 1 do
  local id, kind, payload, extra = unpack(ARGV, FIRST + index * 4, FIRST + 3 + index * 4)
  local key, mine, answer = TASK .. id, caller .. index, nil
  local given, priority, when, attempts, window, options, once = '', '0', '', '', '', '', ''
  if extra ~= '' then
    given, priority, when, attempts, window, options, once = string.match(extra, '^(.-)\n(.-)\n(.-)\n(.-)\n(.-)\n(.-)\n(.*)$')
  end
  local there = fields(key, 'call', 'createdAt')
  local holder = once ~= '' and call('GET', META .. ':once:' .. once)
  if type(holder) == 'string' and holder ~= id and fields(TASK .. holder, 'queue')[1] == NAME then
    answer = 'same ' .. holder
  elseif there[1] then
    answer = there[1] == mine and 'ok ' .. there[2] or holder == id and 'same ' .. id or 'taken'
  else
    answer = 'ok'
    local place, due = placeOf(priority, number + index), now
    if when ~= '' then due = tonumber(when) + (string.sub(when, 1, 1) == '+' and now or 0) end
    local status = due > now and 'delayed' or 'queued'
    local set = {'call', mine, 'queue', NAME, 'kind', kind, 'payload', payload, 'status', status, 'createdAt', text(now)}
    if priority ~= '0' or attempts ~= '' or options ~= '' then push(set, 'more', '1') end
    if priority ~= '0' then push(set, 'priority', priority) end
    if attempts ~= '' then push(set, 'attempts', attempts) end
    if options ~= '' then push(set, 'options', options) end
    if status == 'delayed' then push(set, 'place', place, 'delayed', text(due)) end
    if once ~= '' then
      if window == '' then
        push(set, 'once', once)
        call('SET', META .. ':once:' .. once, id)
      else
        call('SET', META .. ':once:' .. once, id, 'PX', window)
      end
    end
    call('HSET', key, unpack(set))
    if status == 'delayed' then later(DELAYED, text(due), id) else later(READY, place, id) end
    entered = entered + 1
    if KEEP == '' then
      tell(id, 'queued', {status = status, progress = '0', message = '', attempt = '0'})
    elseif given ~= '' then
      -- Somebody may wait for it already, or have waited for one of the same id, whose story is over.
      local hasEnded = isEnding(redis.pcall('HGET', POS .. id, 'end'))
      if hasEnded then redis.pcall('DEL', POS .. id, LOG .. id) end
      if not hasEnded and hasLog(id) or isHeard(id) then watch(id) end
    end
  end
  answers[#answers + 1] = answer
end
settle()
if entered > 0 then
  count('enqueued', entered)
  redis.pcall('PUBLISH', WAKE, 'ready')
end
return {unpack(answers)}`;

const ENQUEUE = `${BASE}${TELL}${MOVES}
local FIRST = 8
${ENTER}`;

/**
 * ARGV: '', the call, a schedule's name, the time that is due, the next one ('' for none), its content, then its task as above. Answers 'over'
 * where somebody else has done it, or something else is scheduled by now: there is one task for each time, however soon it
 * is done and forgotten.
 */
const FIRE = `${BASE}${TELL}${MOVES}${String.raw`
local schedule, time, following, content = unpack(ARGV, 8, 11)
local score = call('ZSCORE', META .. ':due', schedule)
if type(score) ~= 'string' and type(score) ~= 'number' then return {'over'} end
if text(tonumber(score)) ~= time or call('HGET', META .. ':schedules', schedule) ~= content then return {'over'} end
if following == '' then
  call('ZREM', META .. ':due', schedule)
  call('HDEL', META .. ':schedules', schedule)
else
  call('ZADD', META .. ':due', following, schedule)
end
local FIRST = 12
`}${ENTER}`;

/** What became of one task: in line since then, or its id is taken, or another of its key is there. */
export type EnqueueAnswer =
  | { readonly status: "ok"; readonly createdAt: number }
  | { readonly status: "taken" }
  | { readonly status: "same"; readonly id: string };

/** One answer for each task; of all or none, that `taken` id for which none was put in line. */
export type EnqueueReply = readonly EnqueueAnswer[] | { readonly taken: string };

function toReply([now, ...answers]: readonly string[]): EnqueueReply {
  if (now === "taken") return { taken: answers[0]! };
  return answers.map((answer) => {
    const [status, value] = answer.split(" ");
    if (status === "same") return { status, id: value! };
    return status === "ok" ? { status, createdAt: Number(value ?? now) } : { status: "taken" };
  });
}

export const enqueueTasks: Script<EnqueueReply> = defineQueueScript("Enqueue", ENQUEUE, toReply);

/** `null` where it was not due any more. */
export const fireSchedule: Script<EnqueueAnswer | null> = defineQueueScript("Fire", FIRE, (reply) => {
  const answers = reply[0] === "over" ? [] : (toReply(reply) as readonly EnqueueAnswer[]);
  return answers[0] ?? null;
});
