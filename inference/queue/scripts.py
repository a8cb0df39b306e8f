"""The queue's atomic steps, in Lua. Each touches one deployment's keys (one cluster slot) and may be run twice.

Order between tenants is Virtual Token Counter scheduling (Sheng et al., OSDI '24), weighted: a tenant's counter grows
by the service that it receives (prompt tokens when a request is dispatched, twice the answer's tokens as they come
out) divided by its weight, and the waiting tenant with the smallest counter goes first. A tenant that begins to wait
again is lifted to the smallest counter of those that wait, or to that of the tenant that stopped waiting last, so
that time away is worth nothing (law L8); what it had received above that level is not forgotten.

Bands are strict: a tenant of band 0 goes before every one of band 1; each band has counters of its own. Inside a
tenant a lower `priority` goes first, then the earlier request.

Service is charged by cumulative totals per request, so a repeated or reordered call, and a request that another
replica produces again from its first token, charge nothing twice.

Costs: O(log tenants) per request, measured in docs/adr/0013. Keys vanish when nothing waits or runs: at once what
grows with requests, after KEPT_MS what remembers tenants.
"""

from __future__ import annotations

from core.lua import linked
from inference.queue.lua import (
    COMMON,
    HANDED_TTL_S,
    KEPT_MS,
    MOST_HANDED,
    MOST_HANDED_BYTES,
    MOST_PRIORITY,
    PLACES,
    REBASE,
    RESTED_MS,
    W_IN,
    W_OUT,
)

# ARGV: prefix, now, id, payload, tenant, limit, weight in thousandths, band, priority, prompt tokens, deadline ms.
# Where nobody waits and a replica is idle, the request is that replica's at once, as if it had pulled in this moment,
# and lies in its stream of work: one round trip less.
# KEYS[11], where it is given: a hash; a request that is not in it has not been admitted, and is not taken.
# Returns {1, waiting requests of the tenant}; when its queue is full {0, waiting, ms until the last is taken or -1};
# {2} for one that was not admitted.
ENQUEUE = linked(
    COMMON,
    f"""
local id, tenant, weight, band = ARGV[3], ARGV[5], tonumber(ARGV[7]), ARGV[8]
if KEYS[11] and call('HEXISTS', KEYS[11], id) == 0 then return {{2}} end
local queue = P .. 'queue:' .. tenant
local waiting = call('ZCARD', queue)
if call('HEXISTS', REQUESTS, id) == 1 then return {{1, waiting}} end
local a = load_account(tenant)
if waiting >= tonumber(ARGV[6]) then
  return {{0, waiting, a and expected_ms(a, waiting, now_ms()) or -1}}
end
a = a or {{c = level(band) or 0, b = band, w = weight, r = 0}}
local active = waiting > 0 or a.r > 0
if active and (a.b ~= band or a.w ~= weight) then
  if call('HINCRBY', TOTALS, 'weight:' .. a.b, -a.w) <= 0 then call('HDEL', TOTALS, 'weight:' .. a.b) end
  call('HINCRBY', TOTALS, 'weight:' .. band, weight)
end
if a.b ~= band then
  -- Counters of two bands have nothing to do with each other: what the tenant had above the one goes above the other.
  local above = math.max(0, a.c - (level(a.b) or a.c))
  if waiting > 0 then
    leave_order(tenant, a)
    count_waiting(a.b, -waiting)
    call('HINCRBY', TOTALS, 'waiting:' .. band, waiting)
  end
  a.b = band
  a.c = (level(band) or 0) + above
end
a.w = weight
if not active then begin_work(tenant, a) end
if waiting == 0 then a.c = math.max(a.c, level(band) or a.c) end
local place = tonumber(ARGV[9]) * {PLACES} + call('HINCRBY', TOTALS, 'places', 1)
call('HSET', REQUESTS, id, ARGV[4])
if waiting == 0 and #ARGV[4] <= {MOST_HANDED_BYTES} and call('EXISTS', BANDS) == 0 then
  local now = now_ms()
  local replica = take_idle(now)
  if replica then
    local s = {{place = string.format('%.0f', place), prompt = tonumber(ARGV[10]), deadline = tonumber(ARGV[11]), i = 0,
               o = 0, tenant = tenant}}
    charge_prompt(s, a, now)
    a.r = a.r + 1
    call('HSET', SERVED, id, text_of_served(s))
    call('HSET', RUNNING, id, replica)
    call('HSET', LAST, band, tenant)
    save_account(tenant, a)
    note_pace(now, 1)
    call('XADD', P .. 'work:' .. replica, 'MAXLEN', {MOST_HANDED}, '*', 'w', ARGV[4])
    call('EXPIRE', P .. 'work:' .. replica, {HANDED_TTL_S})
    return {{1, 1}}
  end
end
call('HSET', SERVED, id, string.format('%.0f', place) .. ' ' .. ARGV[10] .. ' ' .. ARGV[11] .. ' 0 0 ' .. tenant)
call('ZADD', queue, string.format('%.0f', place), id)
count_waiting(band, 1)
save_account(tenant, a)
call('ZADD', BANDS, band, band)
place_tenant(tenant, a)
wake()
return {{1, waiting + 1}}
""",
)

# ARGV: prefix, now, replica, room, express, prompt tokens that there is room for, number of this pull, for how long the
# replica may be handed work if it has room left and nobody waits (ms; 0: not at all), and the entries of its stream of
# work that it has read.
# Takes up to `room` requests, and up to `express` more while the tenant whose turn it is runs nothing, or less than
# half of its part of what runs. A request whose deadline has passed comes too, and is not charged for. A repeated
# number gives the same again. Returns {payloads, how many tenants wait: 0, 1, 2 for more; 1 where it is not known}.
PULL = linked(
    COMMON,
    """
local replica, room, express, tokens = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local taken, ids = {}, {ARGV[7]}
local idle_ms = tonumber(ARGV[8])
if #ARGV > 8 then call('XDEL', P .. 'work:' .. replica, unpack(ARGV, 9)) end
local before = call('HGET', PULLS, replica)
if before then
  local words = {}
  for word in string.gmatch(before, '%S+') do words[#words + 1] = word end
  if words[1] == ARGV[7] then
    for index = 2, #words do
      if call('HGET', RUNNING, words[index]) == replica then
        taken[#taken + 1] = call('HGET', REQUESTS, words[index])
      end
    end
    return {taken, 1}
  end
end

-- The tenant whose turn it is; of several with the same counter one that has nothing running.
local function head()
  local band = call('ZRANGE', BANDS, 0, 0)[1]
  if not band then return nil end
  local first = call('ZRANGE', P .. 'order:' .. band, 0, 0, 'WITHSCORES')
  local hungry = call('ZRANGE', P .. 'hungry:' .. band, 0, 0, 'WITHSCORES')
  if #hungry > 0 and tonumber(hungry[2]) <= tonumber(first[2]) then return hungry[1] end
  return first[1]
end

local function is_behind(a)
  if a.r == 0 then return true end
  local all = tonumber(call('HGET', TOTALS, 'weight:' .. a.b) or '0')
  return 2 * a.r * all < a.w * call('HLEN', RUNNING)
end

local now, regular = now_ms(), 0
while true do
  local tenant = head()
  if not tenant then break end
  local a = load_account(tenant)
  if regular < room and tokens > 0 then
    regular = regular + 1
  elseif express > 0 and is_behind(a) then
    express = express - 1
  else
    break
  end
  local queue = P .. 'queue:' .. tenant
  local id = call('ZPOPMIN', queue)[1]
  local s = load_served(id)
  if s.i == 0 then
    charge_prompt(s, a, now)
    call('HSET', SERVED, id, text_of_served(s))
  end
  tokens = tokens - s.prompt
  a.r = a.r + 1
  call('HSET', RUNNING, id, replica)
  count_waiting(a.b, -1)
  if is_waiting(tenant) then place_tenant(tenant, a) else stop_waiting(tenant, a) end
  save_account(tenant, a)
  taken[#taken + 1] = call('HGET', REQUESTS, id)
  ids[#ids + 1] = id
end
if #taken > 0 then
  note_pace(now, #taken)
  call('HSET', PULLS, replica, table.concat(ids, ' '))
  call('PEXPIRE', PULLS, KEPT_MS)
end

local band = call('ZRANGE', BANDS, 0, 0)[1]
if idle_ms > 0 then
  if not band and regular < room and tokens > 0 then
    call('HSET', P .. 'idle', replica, now + idle_ms)
    call('PEXPIRE', P .. 'idle', idle_ms)
  else
    call('HDEL', P .. 'idle', replica)
  end
end
if not band then return {taken, 0} end
local first = call('ZRANGE', P .. 'order:' .. band, 0, 0, 'WITHSCORES')
local base = tonumber(first[2])
if base > REBASE then
  -- Once in billions of tokens: all counters of the band together, so that their differences stay.
  local names = call('HGETALL', ACCOUNTS)
  for index = 1, #names, 2 do
    local a = load_account(names[index])
    if a.b == band then
      a.c = a.c - base
      save_account(names[index], a)
      if is_waiting(names[index]) then place_tenant(names[index], a) end
    end
  end
  local last = call('HGET', LAST, band)
  if last and string.sub(last, 1, 1) == '=' then
    call('HSET', LAST, band, '=' .. exact(tonumber(string.sub(last, 2)) - base))
  end
end
local others = call('ZCARD', BANDS) > 1 or call('ZCARD', P .. 'order:' .. band) > 1
return {taken, others and 2 or 1}
""",
)

# ARGV: prefix, now, then for each request: id, prompt tokens and answer tokens that it has used so far.
# Returns how many of them were known.
CHARGE = linked(
    COMMON,
    """
local ids, costs, order, changed = {}, {}, {}, {}
for index = 3, #ARGV, 3 do ids[#ids + 1] = ARGV[index] end
if #ids == 0 then return 0 end
local found, known = call('HMGET', SERVED, unpack(ids)), 0
for index, text in ipairs(found) do
  if text then
    known = known + 1
    local s = parse_served(text)
    local cost = owed(s, tonumber(ARGV[3 * index + 1]), tonumber(ARGV[3 * index + 2]))
    if cost ~= 0 then
      changed[#changed + 1] = ids[index]
      changed[#changed + 1] = text_of_served(s)
      if not costs[s.tenant] then order[#order + 1] = s.tenant end
      costs[s.tenant] = (costs[s.tenant] or 0) + cost
    end
  end
end
if #changed > 0 then call('HSET', SERVED, unpack(changed)) end
for _, tenant in ipairs(order) do
  local a = load_account(tenant)
  if a then
    charge(tenant, a, costs[tenant])
    save_account(tenant, a)
    if is_waiting(tenant) then place_tenant(tenant, a) end
  end
end
return known
""",
)

_REMOVE = """
local function remove(id, s)
  local tenant = s.tenant
  local a = load_account(tenant)
  local ran = call('HDEL', RUNNING, id) == 1
  local waited = call('ZREM', P .. 'queue:' .. tenant, id) == 1
  call('HDEL', REQUESTS, id)
  call('HDEL', SERVED, id)
  if not a then return end
  if ran then a.r = math.max(0, a.r - 1) end
  if waited then count_waiting(a.b, -1) end
  local waits = is_waiting(tenant)
  if waits then place_tenant(tenant, a) elseif waited then stop_waiting(tenant, a) end
  save_account(tenant, a)
  if not waits and a.r == 0 and (ran or waited) then end_work(tenant, a) end
end
"""
# ARGV: prefix, now, id, prefix of the control streams, what the replica is to write as the end of the request or "".
# Takes a waiting request out, or tells its replica to stop. Returns the replica, '' when it was waiting, nil when gone.
CANCEL = linked(
    COMMON,
    _REMOVE
    + """
local id = ARGV[3]
local replica = call('HGET', RUNNING, id)
if replica then
  call('XADD', ARGV[4] .. replica, 'MAXLEN', '~', 10000, '*', 'cancel', ARGV[5] == '' and id or id .. ' ' .. ARGV[5])
  call('EXPIRE', ARGV[4] .. replica, 3600)
  return replica
end
local s = load_served(id)
if not s then return nil end
remove(id, s)
keep_when_idle()
return ''
""",
)

# ARGV: prefix, now, id, prompt tokens and answer tokens that it has used. Charges the rest and forgets the request,
# wherever it is. Returns 1, or 0 when it was not known.
FINISH = linked(
    COMMON,
    _REMOVE
    + """
local id = ARGV[3]
local s = load_served(id)
if not s then return 0 end
local cost = owed(s, tonumber(ARGV[4]), tonumber(ARGV[5]))
local a = load_account(s.tenant)
if a and cost ~= 0 then
  charge(s.tenant, a, cost)
  save_account(s.tenant, a)
end
remove(id, s)
keep_when_idle()
return 1
""",
)

# ARGV: prefix, now, id, payload, the lost replica, prefix of the control streams.
# Puts a request of a lost replica back into its old place. Returns 1, or 0 when somebody was faster.
# Should the replica live after all, it is told to drop the request without a word.
REQUEUE = linked(
    COMMON,
    """
local id = ARGV[3]
if call('HGET', RUNNING, id) ~= ARGV[5] then return 0 end
local s = load_served(id)
local a = s and load_account(s.tenant)
if not a then return 0 end
call('HDEL', RUNNING, id)
call('XADD', ARGV[6] .. ARGV[5], 'MAXLEN', '~', 10000, '*', 'drop', id)
call('EXPIRE', ARGV[6] .. ARGV[5], 3600)
call('HSET', REQUESTS, id, ARGV[4])
a.r = math.max(0, a.r - 1)
if not is_waiting(s.tenant) then a.c = math.max(a.c, level(a.b) or a.c) end
call('ZADD', P .. 'queue:' .. s.tenant, s.place, id)
count_waiting(a.b, 1)
save_account(s.tenant, a)
call('ZADD', BANDS, a.b, a.b)
place_tenant(s.tenant, a)
wake()
return 1
""",
)

# ARGV: prefix, now, tenant, weight in thousandths and band where the tenant is not known here. Changes nothing.
# Returns waiting, running, tenants whose turn comes before the tenant's or -1, share in millionths, and when the
# next of its waiting requests and one that is sent now will be taken, ms or -1.
# SECURITY: of other tenants only sums leave the script.
STATUS = linked(
    COMMON,
    """
local tenant = ARGV[3]
local waiting = call('ZCARD', P .. 'queue:' .. tenant)
local a = load_account(tenant) or {c = 0, b = ARGV[5], w = tonumber(ARGV[4]), r = 0}
local now, turn, part = now_ms(), -1, nil
if waiting > 0 then
  turn = call('ZRANK', P .. 'order:' .. a.b, tenant)
  for _, b in ipairs(call('ZRANGEBYSCORE', BANDS, '-inf', '(' .. a.b)) do
    turn = turn + call('ZCARD', P .. 'order:' .. b)
  end
end
local all = tonumber(call('HGET', TOTALS, 'weight:' .. a.b) or '0')
if waiting == 0 and a.r == 0 then all = all + a.w end
part = a.w / math.max(all, a.w)
local first, new = -1, 0
if waiting > 0 then first = expected_ms(a, 1, now) end
if call('EXISTS', BANDS) == 1 then new = expected_ms(a, waiting + 1, now) end
return {waiting, a.r, turn, math.floor(part * 1000000 + 0.5), first, new}
""",
)

# KEYS: one hash. ARGV: field, JSON object without its closing brace. Stamps a heartbeat with Valkey's own clock.
BEAT = """
local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. '"at_ms":' .. string.format('%d', ms) .. '}')
return ms
"""

__all__ = [
    "BEAT",
    "CANCEL",
    "CHARGE",
    "ENQUEUE",
    "FINISH",
    "KEPT_MS",
    "MOST_PRIORITY",
    "PULL",
    "REBASE",
    "REQUEUE",
    "RESTED_MS",
    "STATUS",
    "W_IN",
    "W_OUT",
]
