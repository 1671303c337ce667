import type { Script } from "../../redis/script.js";
import { BASE, defineQueueScript } from "./base.js";
import type { DueSchedule } from "./claim.js";

/**
 * ARGV: name, content ('' to take it away), next time, with what a content begins that is due at the same times. Answers whether
 * there was one of that name. What is said again, as by each process that starts, does not put off what is due already.
 */
const SCHEDULE = `${BASE}${String.raw`
local name, content, following, times = unpack(ARGV, 6, 9)
local before = look('HGET', META .. ':schedules', name)
if areUnfit(META .. ':due') then return UNFIT end
local existed = type(before) == 'string' and 1 or 0
if content == '' then
  call('HDEL', META .. ':schedules', name)
  call('ZREM', META .. ':due', name)
else
  call('HSET', META .. ':schedules', name, content)
  local due = call('ZSCORE', META .. ':due', name)
  due = (type(due) == 'string' or type(due) == 'number') and finite(due)
  if due and due <= tonumber(following) and existed == 1 and string.sub(before, 1, #times) == times then following = text(due) end
  call('ZADD', META .. ':due', following, name)
  try('PUBLISH', WAKE, 'ready')
end
return existed`}`;

/** ARGV: name, the time that was due, the next one ('' for none). False where somebody else has done it. */
const ADVANCE = `${BASE}${String.raw`
local name, due = ARGV[6], META .. ':due'
local score = look('ZSCORE', due, name)
look('HLEN', META .. ':schedules')
if unfit then return UNFIT end
if type(score) ~= 'string' and type(score) ~= 'number' then return 0 end
if shown(score) ~= ARGV[7] then return 0 end
if ARGV[8] == '' then
  call('ZREM', due, name)
  call('HDEL', META .. ':schedules', name)
else
  call('ZADD', due, ARGV[8], name)
end
return 1`}`;

/** ARGV: how many to leave out, how many to answer at most. Answers names, next times and contents. */
const SCHEDULES = `${BASE}${String.raw`
local from, most = tonumber(ARGV[6]), tonumber(ARGV[7])
local reply, due = {''}, look('ZRANGE', META .. ':due', text(from), text(from + most - 1), 'WITHSCORES')
for index = 1, #due, 2 do
  local content = look('HGET', META .. ':schedules', due[index])
  if type(content) == 'string' and scoreOf(due[index + 1]) then push(reply, due[index], shown(due[index + 1]), content) end
end
if unfit then return UNFIT end
return {unpack(reply)}`}`;

/** ARGV: '1' to pause the queue, '0' to go on. */
const PAUSE = `${BASE}${String.raw`
look('HLEN', META)
if unfit then return UNFIT end
if ARGV[6] == '1' then
  call('HSET', META, 'paused', '1')
else
  call('HDEL', META, 'paused')
  try('PUBLISH', WAKE, 'ready')
end
return 1`}`;

/** Redis' time, by which schedules are due. */
export const readTime: Script<number> = defineQueueScript("Time", `${BASE}\nreturn NOW`, ([now]) =>
  Number(now),
);

export const writeSchedule: Script<boolean> = defineQueueScript(
  "Schedule",
  SCHEDULE,
  ([existed]) => existed === "1",
);

export const advanceSchedule: Script<boolean> = defineQueueScript(
  "Advance",
  ADVANCE,
  ([done]) => done === "1",
);

export const readSchedules: Script<readonly DueSchedule[]> = defineQueueScript(
  "Schedules",
  SCHEDULES,
  ([, ...reply]) => {
    const schedules: DueSchedule[] = [];
    for (let index = 0; index + 2 < reply.length; index += 3) {
      schedules.push({ name: reply[index]!, due: Number(reply[index + 1]), content: reply[index + 2]! });
    }
    return schedules;
  },
);

export const pauseQueue: Script<void> = defineQueueScript("Pause", PAUSE, () => undefined);
