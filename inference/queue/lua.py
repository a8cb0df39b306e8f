"""What all scripts of the queue share: constants, and functions in Lua over one deployment's keys."""

from __future__ import annotations

W_IN, W_OUT = 1, 2
# Counters are made smaller together when they have grown to this: a double then still tells millionths of a token.
REBASE = 2**33
# How long a tenant that has nothing to do keeps what it received above the others' level.
RESTED_MS = 600_000
# How long what remembers tenants is kept after the last dispatch. No request waits or runs for as long as this.
KEPT_MS = 86_400_000
# Places are priority * PLACES + number of the request; exact in a double for priorities within ±MOST_PRIORITY.
PLACES = 2**40
MOST_PRIORITY = 4_095
# Window over which the pace of dispatch is measured.
PACE_MS = 10_000
# A request of at most so many bytes is handed to an idle replica as it comes, and so many at most lie there unread.
MOST_HANDED_BYTES, MOST_HANDED = 65_536, 64
HANDED_TTL_S = 600

# KEYS of all of these: DeploymentKeys.fair. ARGV[1]: prefix of the deployment's keys. ARGV[2]: now, ms since 1970, or 0
# for Valkey's own clock.
COMMON = f"""
local REQUESTS, RUNNING, SERVED, ACCOUNTS, BANDS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local RESTING, LAST, TOTALS, PULLS, WAKE = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local P = ARGV[1]
local W_IN, W_OUT, REBASE, RESTED_MS, PACE_MS, KEPT_MS = {W_IN}, {W_OUT}, {REBASE}, {RESTED_MS}, {PACE_MS}, {KEPT_MS}
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
  call('PEXPIRE', RESTING, KEPT_MS)
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

-- What remembers tenants goes when nothing was dispatched for long; what is not named here goes as it empties, or is
-- given its time where it is written.
local function keep()
  call('PEXPIRE', ACCOUNTS, KEPT_MS)
  call('PEXPIRE', LAST, KEPT_MS)
  call('PEXPIRE', TOTALS, KEPT_MS)
end

local function keep_when_idle()
  if call('EXISTS', REQUESTS) == 0 then keep() end
end

local function wake()
  call('XADD', WAKE, 'MAXLEN', 1, '*', 'i', 1)
  call('PEXPIRE', WAKE, KEPT_MS)
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
  if age >= PACE_MS then keep() end
  if age >= 2 * PACE_MS then
    call('HSET', TOTALS, 'since', exact(now), 'count', dispatched, 'before', -1)
  elseif age >= PACE_MS then
    call('HSET', TOTALS, 'since', exact(tonumber(since) + PACE_MS), 'count', dispatched, 'before', count)
  else
    call('HINCRBY', TOTALS, 'count', dispatched)
  end
end

-- A replica that has room and has found nothing to do, out of those that said so lately; nil where there is none.
local function take_idle(now)
  for _ = 1, 3 do
    local found = call('HRANDFIELD', P .. 'idle', 1, 'WITHVALUES')
    if #found == 0 then return nil end
    call('HDEL', P .. 'idle', found[1])
    if tonumber(found[2]) >= now then return found[1] end
  end
  return nil
end

-- What a request is charged for when it is dispatched. One whose deadline has passed is neither served nor charged for.
local function charge_prompt(s, a, now)
  s.i = 1
  if s.deadline > now then s.i = math.max(1, s.prompt) end
  charge(s.tenant, a, W_IN * s.i)
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
