import type { Script } from "../../redis/script.js";
import { BASE, defineQueueScript } from "./base.js";
import { TELL } from "./tell.js";

/**
 * ARGV: id, token ('' for a caller without one), number of the report, progress ('' for none), message, data as JSON ('' for
 * none), then names and data of other events. 1; 0 for a task that has ended or is not that worker's any more, 3 if it was
 * cancelled; 2 for one that is not there.
 */
const REPORT = `${BASE}${TELL}${String.raw`
local id, token, number, progress, message, data = unpack(ARGV, 6, 11)
local key = TASK .. id
local got = fields(key, 'status', 'token', 'said', 'attempt', 'queue')
if not got[1] and token == '' then return 2 end
-- Whoever has no token may speak for this queue's tasks only.
if token == '' and got[5] ~= NAME then return 0 end
if not got[1] or isOver(got[1]) or (token ~= '' and got[2] ~= token) then
  if token ~= '' then try('HINCRBY', META, 'refused', '1') end
  return got[1] == 'cancelled' and 3 or 0
end
-- One that was sent again, maybe behind later ones.
local teller, last = string.match(got[3] or '', '^(%S+) (%d+)$')
if teller and teller == token and tonumber(number) <= tonumber(last) then return 1 end
watch(id)
if token ~= '' then call('HSET', key, 'said', token .. ' ' .. number) end
for index = 12, #ARGV, 2 do
  append(id, ARGV[index], function() return ARGV[index + 1] end)
end
if progress ~= '' then
  call('HSET', key, 'progress', progress, 'message', message)
  if data ~= '' then call('HSET', key, 'data', data) end
  tell(id, 'progress', {status = got[1], progress = progress, message = message, attempt = got[4] or '0', data = data ~= '' and data})
end
return 1`}`;

export type ReportReply = "taken" | "refused" | "unknown" | "cancelled";

const REPLIES: Readonly<Record<string, ReportReply>> = { 1: "taken", 2: "unknown", 3: "cancelled" };

export const reportTask: Script<ReportReply> = defineQueueScript(
  "Report",
  REPORT,
  ([reply]) => REPLIES[reply ?? ""] ?? "refused",
);
