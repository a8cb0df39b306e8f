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
grows with requests, after RESTED_MS what remembers tenants.
"""

from __future__ import annotations

W_IN, W_OUT = 1, 2
# Counters are made smaller together when they have grown to this: a double then still tells millionths of a token.
REBASE = 2**33
# How long a tenant that has nothing to do keeps what it received above the others' level.
RESTED_MS = 600_000
# Places are priority * PLACES + number of the request; exact in a double for priorities within ±MOST_PRIORITY.
PLACES = 2**40
MOST_PRIORITY = 4_095
# Window over which the pace of dispatch is measured.
PACE_MS = 10_000

# KEYS of all of these: DeploymentKeys.fair. ARGV[1]: prefix of the deployment's keys. ARGV[2]: now, ms since 1970, or 0
# for Valkey's own clock.
_COMMON = f"""
local REQUESTS, RUNNING, SERVED, ACCOUNTS, BANDS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local RESTING, LAST, TOTALS, PULLS, WAKE = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local P = ARGV[1]
local W_IN, W_OUT, REBASE, RESTED_MS, PACE_MS = {W_IN}, {W_OUT}, {REBASE}, {RESTED_MS}, {PACE_MS}
local call = redis.call

local function now_ms()
  local given = tonumber(ARGV[2])
  if given > 0 then return given end
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function exact(number) return string.format('%.17g', number) end

-- What is known of a tenant: c counter, b band, w weight in thousandths, r running requests.
local function load_account(tenant)
  local text = call('HGET', ACCOUNTS, tenant)
  if not text then return nil end
  local c, b, w, r = string.match(text, '^(%S+) (%S+) (%S+) (%S+)$')
  return {{c = tonumber(c), b = b, w = tonumber(w), r = tonumber(r)}}
end

local function save_account(tenant, a)
  call('HSET', ACCOUNTS, tenant, exact(a.c) .. ' ' .. a.b .. ' ' .. a.w .. ' ' .. a.r)
end

-- What is known of a request: its place, prompt tokens, deadline, tokens charged in and out, tenant.
local function parse_served(text)
  local place, prompt, deadline, i, o, tenant = string.match(text, '^(%S+) (%S+) (%S+) (%S+) (%S+) (.*)$')
  return {{place = place, prompt = tonumber(prompt), deadline = tonumber(deadline), i = tonumber(i),
           o = tonumber(o), tenant = tenant}}
end

local function load_served(id)
  local text = call('HGET', SERVED, id)
  return text and parse_served(text) or nil
end

local function text_of_served(s)
  return s.place .. ' ' .. s.prompt .. ' ' .. string.format('%.0f', s.deadline) .. ' ' .. s.i .. ' ' .. s.o ..
    ' ' .. s.tenant
end

-- The counter that a tenant which begins to wait in a band is lifted to; nil where nobody has waited yet.
local function level(b)
  local first = call('ZRANGE', P .. 'order:' .. b, 0, 0, 'WITHSCORES')
  if #first > 0 then return tonumber(first[2]) end
  local last = call('HGET', LAST, b)
  if not last then return nil end
  if string.sub(last, 1, 1) == '=' then return tonumber(string.sub(last, 2)) end
  local a = load_account(last)
  return a and a.c or nil
end

-- Put a waiting tenant where its counter says.
local function place_tenant(tenant, a)
  call('ZADD', P .. 'order:' .. a.b, exact(a.c), tenant)
  if a.r == 0 then
    call('ZADD', P .. 'hungry:' .. a.b, exact(a.c), tenant)
  else
    call('ZREM', P .. 'hungry:' .. a.b, tenant)
  end
end

local function is_waiting(tenant) return call('EXISTS', P .. 'queue:' .. tenant) == 1 end

local function leave_order(tenant, a)
  call('ZREM', P .. 'order:' .. a.b, tenant)
  call('ZREM', P .. 'hungry:' .. a.b, tenant)
  if call('EXISTS', P .. 'order:' .. a.b) == 0 then call('ZREM', BANDS, a.b) end
end

local function stop_waiting(tenant, a)
  leave_order(tenant, a)
  call('HSET', LAST, a.b, tenant)
end

local function begin_work(tenant, a)
  call('HINCRBY', TOTALS, 'weight:' .. a.b, a.w)
  call('ZREM', RESTING, tenant)
end

-- A tenant that neither waits nor runs rests; who has rested long enough is forgotten (two for each that comes).
local function end_work(tenant, a)
  if call('HINCRBY', TOTALS, 'weight:' .. a.b, -a.w) <= 0 then call('HDEL', TOTALS, 'weight:' .. a.b) end
  local now = now_ms()
  call('ZADD', RESTING, now, tenant)
  for _, old in ipairs(call('ZRANGEBYSCORE', RESTING, '-inf', now - RESTED_MS, 'LIMIT', 0, 2)) do
    local known = load_account(old)
    if known and call('HGET', LAST, known.b) == old then call('HSET', LAST, known.b, '=' .. exact(known.c)) end
    call('HDEL', ACCOUNTS, old)
    call('ZREM', RESTING, old)
  end
end

local function count_waiting(b, change)
  if call('HINCRBY', TOTALS, 'waiting:' .. b, change) <= 0 then call('HDEL', TOTALS, 'waiting:' .. b) end
end

-- What remembers tenants when nothing is left to do goes some time later.
local function expire_when_idle()
  if call('EXISTS', REQUESTS) == 1 then return end
  for index = 3, 10 do call('PEXPIRE', KEYS[index], 2 * RESTED_MS) end
end

local function persist()
  for index = 3, 10 do call('PERSIST', KEYS[index]) end
end

-- Charge a tenant; `cost` in weighted tokens, negative where less was used than had been charged.
local function charge(tenant, a, cost)
  a.c = a.c + cost * 1000 / a.w
end

-- Bring what was charged for a request to what it has used by now; 0 stands for "not known". Returns the cost.
local function owed(s, used_in, used_out)
  local cost = 0
  if used_in > 0 and used_in ~= s.i then
    cost = W_IN * (used_in - s.i)
    s.i = used_in
  end
  if used_out > s.o then
    cost = cost + W_OUT * (used_out - s.o)
    s.o = used_out
  end
  return cost
end

-- Requests per second that leave the queue, over this window and the last.
local function pace(now)
  local since, count, before = unpack(call('HMGET', TOTALS, 'since', 'count', 'before'))
  if not since then return 0 end
  local age = now - tonumber(since)
  if age >= 2 * PACE_MS then return 0 end
  if age >= PACE_MS then return tonumber(count) * (2 * PACE_MS - age) / PACE_MS / PACE_MS * 1000 end
  local old = tonumber(before)
  if old < 0 then return tonumber(count) / math.max(age, 1000) * 1000 end
  return (old * (PACE_MS - age) / PACE_MS + tonumber(count)) / PACE_MS * 1000
end

local function note_pace(now, dispatched)
  local since, count = unpack(call('HMGET', TOTALS, 'since', 'count'))
  local age = since and now - tonumber(since) or 3 * PACE_MS
  if age >= 2 * PACE_MS then
    call('HSET', TOTALS, 'since', exact(now), 'count', dispatched, 'before', -1)
  elseif age >= PACE_MS then
    call('HSET', TOTALS, 'since', exact(tonumber(since) + PACE_MS), 'count', dispatched, 'before', count)
  else
    call('HINCRBY', TOTALS, 'count', dispatched)
  end
end

local function share(a)
  local all = tonumber(call('HGET', TOTALS, 'weight:' .. a.b) or '0')
  return a.w / math.max(all, a.w)
end

-- When the last of a tenant's `ahead` requests will have been taken, ms; -1 where nothing was taken lately.
-- By the tenant's share, but not later than if everybody's requests of this band were taken first.
local function expected_ms(a, ahead, now)
  local per_s = pace(now)
  if per_s <= 0 then return -1 end
  local below = 0
  for _, b in ipairs(call('ZRANGEBYSCORE', BANDS, '-inf', '(' .. a.b)) do
    below = below + tonumber(call('HGET', TOTALS, 'waiting:' .. b) or '0')
  end
  local all = math.max(tonumber(call('HGET', TOTALS, 'waiting:' .. a.b) or '0'), ahead)
  return math.ceil((below + math.min(ahead / share(a), all)) / per_s * 1000)
end
"""

# ARGV: prefix, now, id, payload, tenant, limit, weight in thousandths, band, priority, prompt tokens, deadline ms.
# Returns {1, waiting requests of the tenant} or, when its queue is full, {0, waiting, ms until the last is taken
# or -1}.
ENQUEUE = (
    _COMMON
    + f"""
local id, tenant, weight, band = ARGV[3], ARGV[5], tonumber(ARGV[7]), ARGV[8]
local queue = P .. 'queue:' .. tenant
local waiting = call('ZCARD', queue)
if call('HEXISTS', REQUESTS, id) == 1 then return {{1, waiting}} end
local a = load_account(tenant)
if waiting >= tonumber(ARGV[6]) then
  return {{0, waiting, a and expected_ms(a, waiting, now_ms()) or -1}}
end
if call('EXISTS', REQUESTS) == 0 then persist() end
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
call('HSET', SERVED, id, string.format('%.0f', place) .. ' ' .. ARGV[10] .. ' ' .. ARGV[11] .. ' 0 0 ' .. tenant)
call('ZADD', queue, string.format('%.0f', place), id)
count_waiting(band, 1)
save_account(tenant, a)
call('ZADD', BANDS, band, band)
place_tenant(tenant, a)
call('XADD', WAKE, 'MAXLEN', 1, '*', 'i', 1)
return {{1, waiting + 1}}
"""
)

# ARGV: prefix, now, replica, room, express, prompt tokens that there is room for, number of this pull.
# Takes up to `room` requests, and up to `express` more while the tenant whose turn it is runs nothing, or less than
# half of its part of what runs. A request whose deadline has passed comes too, and is not charged for. A repeated
# number gives the same again. Returns {payloads, 1 when more than one tenant waits}.
PULL = (
    _COMMON
    + """
local replica, room, express, tokens = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local taken, ids = {}, {ARGV[7]}
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
    return {taken, 0}
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
    s.i = 1
    if s.deadline > now then s.i = math.max(1, s.prompt) end
    charge(tenant, a, W_IN * s.i)
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
end

local band = call('ZRANGE', BANDS, 0, 0)[1]
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
return {taken, others and 1 or 0}
"""
)

# ARGV: prefix, now, then for each request: id, prompt tokens and answer tokens that it has used so far.
# Returns how many of them were known.
CHARGE = (
    _COMMON
    + """
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
"""
)

# ARGV: prefix, now, id, prefix of the control streams.
# Takes a waiting request out, or tells its replica to stop. Returns the replica, '' when it was waiting, nil when gone.
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
CANCEL = (
    _COMMON
    + _REMOVE
    + """
local id = ARGV[3]
local replica = call('HGET', RUNNING, id)
if replica then
  call('XADD', ARGV[4] .. replica, 'MAXLEN', '~', 10000, '*', 'cancel', id)
  call('EXPIRE', ARGV[4] .. replica, 3600)
  return replica
end
local s = load_served(id)
if not s then return nil end
remove(id, s)
expire_when_idle()
return ''
"""
)

# ARGV: prefix, now, id, prompt tokens and answer tokens that it has used. Charges the rest and forgets the request,
# wherever it is. Returns 1, or 0 when it was not known.
FINISH = (
    _COMMON
    + _REMOVE
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
expire_when_idle()
return 1
"""
)

# ARGV: prefix, now, id, payload, the lost replica, prefix of the control streams.
# Puts a request of a lost replica back into its old place. Returns 1, or 0 when somebody was faster.
# Should the replica live after all, it is told to drop the request without a word.
REQUEUE = (
    _COMMON
    + """
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
call('XADD', WAKE, 'MAXLEN', 1, '*', 'i', 1)
return 1
"""
)

# ARGV: prefix, now, tenant, weight in thousandths and band where the tenant is not known here. Changes nothing.
# Returns waiting, running, tenants whose turn comes before the tenant's or -1, share in millionths, and when the
# next of its waiting requests and one that is sent now will be taken, ms or -1.
# SECURITY: of other tenants only sums leave the script.
STATUS = (
    _COMMON
    + """
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
"""
)

# KEYS: one hash. ARGV: field, JSON object without its closing brace. Stamps a heartbeat with Valkey's own clock.
BEAT = """
local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. '"at_ms":' .. string.format('%d', ms) .. '}')
return ms
"""
