"""Admission's atomic steps, in Lua. Each touches one tenant's keys (one cluster slot) and may be run twice.

Every text carries the epoch, the `run_id` of the server that it was loaded into, as a constant, and is called by its
digest only. A restarted server has no scripts: it answers NOSCRIPT, and the client loads a text with the new epoch.
A tenant whose stored epoch is another one is reset first, so that no decision rests on what a restart may have lost
(docs/adr/0014). Numbers are whole and below 2^53, where doubles are exact; buckets alone hold fractions.

Arguments and records are MessagePack arrays. A record is
{epoch, hold, tokens, scopes, request buckets, token buckets, deployment, currency}, a bucket being
{field, limit, period µs}. Escrow is kept by currency: what was set aside in one never pays for another.
"""

from __future__ import annotations

from core.lua import linked

CLOCK = "redis.call('TIME')"

_PRELUDE = """
local EPOCH = '@EPOCH@'
local MONEY, REQUESTS, HOLDS, RATES = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local MONTHS, SWEPT, GRANTS, LIVE = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local DAY_MS = 86400000
local time = @CLOCK@
local now = time[1] * 1000000 + time[2]
local now_ms = math.floor(now / 1000)

-- Calendar month, UTC, as yyyymm (days to civil date, H. Hinnant).
local function month()
  local days = math.floor(time[1] / 86400) + 719468
  local era = math.floor(days / 146097)
  local doe = days - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local m = mp < 10 and mp + 3 or mp - 9
  return string.format('%04d%02d', yoe + era * 400 + (m <= 2 and 1 or 0), m)
end

-- What an earlier memory held of escrow, holds and months counts for nothing.
local function fresh()
  if redis.call('HGET', MONEY, 'epoch') == EPOCH then return end
  redis.call('DEL', MONEY, REQUESTS, HOLDS, MONTHS, GRANTS)
  redis.call('HSET', MONEY, 'epoch', EPOCH, 'at', now_ms)
end
-- Where a request's money comes from and goes back to.
local function purse(record) return 'escrow:' .. (record[8] or '') end

local function whole(number) return string.format('%.0f', number) end

-- A month's counters: {calls, tokens, GPU microseconds, nano}, and the token of the seeding that is under way.
local function counters(raw)
  local a, b, c, d, seeding = string.match(raw, '^(%-?%d+)|(%-?%d+)|(%-?%d+)|(%-?%d+)|?(.*)$')
  return {tonumber(a), tonumber(b), tonumber(c), tonumber(d)}, seeding
end
local function packed(c, seeding)
  local text = whole(c[1]) .. '|' .. whole(c[2]) .. '|' .. whole(c[3]) .. '|' .. whole(c[4])
  if seeding ~= '' then text = text .. '|' .. seeding end
  return text
end

-- Add to the counters of a request's scopes that exist; the others are seeded when they are first needed.
local function count(ym, scopes, calls, tokens, gpu, nano)
  for _, scope in ipairs(scopes) do
    local raw = redis.call('HGET', MONTHS, ym .. '|' .. scope)
    if raw then
      local c, seeding = counters(raw)
      -- While it is being seeded a counter holds differences, which may be below zero.
      local least = seeding == '' and 0 or -math.huge
      c = {math.max(least, c[1] + calls), math.max(least, c[2] + tokens),
           math.max(least, c[3] + gpu), math.max(least, c[4] + nano)}
      redis.call('HSET', MONTHS, ym .. '|' .. scope, packed(c, seeding))
    end
  end
end

-- A bucket that leaks: {level, time, lows}. `lows` are pairs (time, level) of what the level fell to before a debit,
-- rising in both: they tell how much of an old debit can be taken back without giving away what leaked meanwhile.
local function bucket(raw, limit, period)
  if not raw then return {0, now} end
  local b = cmsgpack.unpack(raw)
  local passed = now - b[2]
  if passed > 0 then b[1] = math.max(0, b[1] - passed * limit / period) end
  b[2] = now
  return b, passed < 0
end
local MOST_LOWS = 8
local function note_low(b)
  while #b > 2 and b[#b] >= b[1] do b[#b] = nil; b[#b] = nil end
  b[#b + 1] = now
  b[#b + 1] = b[1]
  if #b - 2 > 2 * MOST_LOWS then
    -- Of the two lows that are closest, the lower one stands for both: less is taken back, never more.
    local at, gap = 3, math.huge
    for i = 3, #b - 3, 2 do
      if b[i + 3] - b[i + 1] < gap then at, gap = i, b[i + 3] - b[i + 1] end
    end
    b[at] = b[at + 2]
    table.remove(b, at + 2)
    table.remove(b, at + 2)
  end
end
-- Take back `less` of a debit made at `since`: never more than the bucket held at every moment from then to now.
local function take_back(b, less, since)
  local low = b[1]
  for i = 3, #b, 2 do
    if b[i] > since then low = math.min(low, b[i + 1]); break end
  end
  local credit = math.max(0, math.min(less, low))
  b[1] = b[1] - credit
  for i = 4, #b, 2 do b[i] = math.max(0, b[i] - credit) end
end

local function set_hold(id, ttl) redis.call('ZADD', HOLDS, now_ms + ttl, id) end
local function set_live(id, scopes, ttl)
  for _, scope in ipairs(scopes) do redis.call('ZADD', LIVE .. scope, now_ms + ttl, id) end
end
local function free(id, scopes)
  for _, scope in ipairs(scopes) do redis.call('ZREM', LIVE .. scope, id) end
end
-- A stored request: month (6), time of admission in microseconds (17), record.
local function stored(raw)
  return string.sub(raw, 1, 6), tonumber(string.sub(raw, 7, 23)), cmsgpack.unpack(string.sub(raw, 24))
end
local function store(id, ym, at, record)
  redis.call('HSET', REQUESTS, id, ym .. string.format('%017.0f', at) .. cmsgpack.pack(record))
end
"""

# ARGV: {id, ttl ms, hold, tokens, scopes, rates, concurrency, months, record}
#   rates: {field, limit, period µs, cost, is of tokens}; concurrency: {scope index, limit};
#   months: {scope index, counter (1 calls, 2 tokens, 3 GPU, 4 money), limit}
# Answers {1, month, escrow left, levels × 1000, epoch} admitted; {2, month, scope} a counter must be seeded first;
# {3, nano missing} escrow must be fetched first; {0, which, index, left, wait µs or -1, levels} refused.
ADMIT = """
local id, ttl, hold, tokens, scopes, rates, concurrency, months, record = unpack(cmsgpack.unpack(ARGV[1]))
fresh()
local ym = month()
local before = redis.call('HGET', REQUESTS, id)
if before then
  local of, _, known = stored(before)
  return {1, of, 0, {}, known[1]}
end

local fields = {}
for i, scope in ipairs(scopes) do fields[i] = ym .. '|' .. scope end
local raws = redis.call('HMGET', MONTHS, unpack(fields))
local values = {}
for i = 1, #fields do if raws[i] then values[i] = {counters(raws[i])} end end
for _, m in ipairs(months) do
  local value = values[m[1]]
  if not value or value[2] ~= '' then return {2, ym, scopes[m[1]]} end
end

local levels, buckets = {}, {}
local never, worst, wait = nil, nil, -1
if #rates > 0 then
  local names = {}
  for i, rate in ipairs(rates) do names[i] = rate[1] end
  local found = redis.call('HMGET', RATES, unpack(names))
  for i, rate in ipairs(rates) do
    local b, went_back = bucket(found[i], rate[2], rate[3])
    -- The clock went back: the level stays, and leaks from here on, even if the answer is no.
    if went_back then redis.call('HSET', RATES, rate[1], cmsgpack.pack(b)) end
    buckets[i] = b
    levels[i] = math.ceil(b[1] * 1000)
    if b[1] + rate[4] > rate[2] then
      local needs = (b[1] + rate[4] - rate[2]) * rate[3] / rate[2]
      if rate[4] > rate[2] then never = never or i elseif needs > wait then worst, wait = i, needs end
    end
  end
end

for i, m in ipairs(months) do
  local used, limit, refused = values[m[1]][1][m[2]], m[3], false
  if m[2] == 1 then refused = used + 1 > limit
  elseif m[2] == 2 then refused = used + tokens > limit
  elseif m[2] == 3 then limit = limit * 1000000; refused = used >= limit
  else refused = used + hold > limit end
  if refused then return {0, 'month', i, math.max(0, limit - used), -1, levels, ym} end
end
local no = never or worst
if no then
  local left = math.max(0, math.floor(rates[no][2] - buckets[no][1]))
  return {0, 'rate', no, left, never and -1 or math.ceil(wait), levels, ym}
end
for i, c in ipairs(concurrency) do
  local live = LIVE .. scopes[c[1]]
  redis.call('ZREMRANGEBYSCORE', live, '-inf', now_ms)
  if redis.call('ZCARD', live) >= c[2] then return {0, 'concurrency', i, 0, -1, levels, ym} end
end
local escrow = tonumber(redis.call('HGET', MONEY, purse(record)) or 0)
if hold > 0 then
  if escrow < hold then return {3, hold - escrow} end
  escrow = escrow - hold
  redis.call('HSET', MONEY, purse(record), whole(escrow), 'at', whole(now_ms))
end

if #rates > 0 then
  local written = {}
  for i, rate in ipairs(rates) do
    local b = buckets[i]
    if rate[5] then note_low(b) end
    b[1] = b[1] + rate[4]
    levels[i] = math.ceil(b[1] * 1000)
    written[2 * i - 1], written[2 * i] = rate[1], cmsgpack.pack(b)
  end
  redis.call('HSET', RATES, unpack(written))
  redis.call('PEXPIRE', RATES, 2 * DAY_MS)
end
for i = 1, #fields do
  if values[i] then
    local c = values[i][1]
    c[1], c[2], c[4] = c[1] + 1, c[2] + tokens, c[4] + hold
    redis.call('HSET', MONTHS, fields[i], packed(c, values[i][2]))
  end
end
set_live(id, scopes, ttl)
set_hold(id, ttl)
record[1] = EPOCH
store(id, ym, now, record)
return {1, ym, escrow, levels, EPOCH}
"""

# ARGV: {{id, scopes}, …}. The requests run no longer; what they hold stays until they are settled.
FREE = """
for _, each in ipairs(cmsgpack.unpack(ARGV[1])) do free(each[1], each[2]) end
return 1
"""

# ARGV: {ttl ms, {{id, month, scopes, record, epoch}, …}}. Answers how many were carried over from another memory.
# One of this memory that is not there has been settled, and stays so.
RENEW = """
local ttl, requests = unpack(cmsgpack.unpack(ARGV[1]))
fresh()
local carried = 0
for _, each in ipairs(requests) do
  local id, ym, scopes, record, epoch = unpack(each)
  if redis.call('HEXISTS', REQUESTS, id) == 1 then
    set_hold(id, ttl)
    set_live(id, scopes, ttl)
  elseif epoch ~= EPOCH and redis.call('HEXISTS', SWEPT, id) == 0 then
    store(id, ym, now, record)
    set_hold(id, ttl)
    set_live(id, scopes, ttl)
    count(ym, record[4], 1, record[3], 0, record[2])
    carried = carried + 1
  end
end
return carried
"""

# ARGV: {{id, epoch, charge, tokens, GPU µs, how}, …}; how: 0 settled, 1 never ran, 2 given up by the sweep.
# Answers how many were known. What the sweep gave up and is settled after all is taken from the escrow then.
RELEASE = """
local known = 0
fresh()
for _, each in ipairs(cmsgpack.unpack(ARGV[1])) do
  local id, epoch, charge, tokens, gpu, how = unpack(each)
  local raw = redis.call('HGET', REQUESTS, id)
  if raw then
    known = known + 1
    local ym, since, record = stored(raw)
    redis.call('HDEL', REQUESTS, id)
    redis.call('ZREM', HOLDS, id)
    free(id, record[4])
    if record[1] == EPOCH then
      redis.call('HINCRBY', MONEY, purse(record), whole(record[2] - charge))
    end
    count(ym, record[4], how == 0 and 0 or -1, tokens - record[3], gpu, charge - record[2])
    local function adjust(rate, debit, actual)
      local found = redis.call('HGET', RATES, rate[1])
      if not found then return end
      local b = bucket(found, rate[2], rate[3])
      if actual > debit then b[1] = b[1] + actual - debit else take_back(b, debit - actual, since) end
      redis.call('HSET', RATES, rate[1], cmsgpack.pack(b))
    end
    if how == 1 then for _, rate in ipairs(record[5]) do adjust(rate, 1, 0) end end
    for _, rate in ipairs(record[6]) do adjust(rate, record[3], tokens) end
    if how == 2 then redis.call('HSET', SWEPT, id, string.format('%013.0f', now_ms) .. raw) end
  elseif how == 0 then
    local given_up = redis.call('HGET', SWEPT, id)
    if given_up then
      redis.call('HDEL', SWEPT, id)
      local ym, _, record = stored(string.sub(given_up, 14))
      if record[1] == EPOCH and charge > 0 then redis.call('HINCRBY', MONEY, purse(record), whole(-charge)) end
      count(ym, record[4], 1, tokens, gpu, charge)
    end
  end
end
return known
"""

# ARGV: {grant id, its epoch, nano, currency}. Answers 1 when the grant counts (now or before), 0 when it is of
# another memory.
CREDIT = """
local grant, epoch, nano, currency = unpack(cmsgpack.unpack(ARGV[1]))
fresh()
if epoch ~= EPOCH then return 0 end
if redis.call('ZADD', GRANTS, 'NX', now_ms, grant) == 1 then
  redis.call('HINCRBY', MONEY, 'escrow:' .. currency, whole(nano))
  redis.call('ZREMRANGEBYRANK', GRANTS, 0, -10001)
end
return 1
"""

# ARGV: {ttl ms, {{id, …}, …}}. Holds that are looked at again later.
EXTEND = """
local ttl, requests = unpack(cmsgpack.unpack(ARGV[1]))
for _, each in ipairs(requests) do
  if redis.call('HEXISTS', REQUESTS, each[1]) == 1 then set_hold(each[1], ttl) end
end
return 1
"""

# ARGV: {idle ms, epoch}. Takes the escrow out of a tenant that has nothing in flight and asked for nothing for so long.
# Answers {currency, nano, …} that were taken.
TAKE = """
local idle, epoch = unpack(cmsgpack.unpack(ARGV[1]))
fresh()
if epoch ~= EPOCH then return {} end
if now_ms - tonumber(redis.call('HGET', MONEY, 'at') or 0) < idle then return {} end
if redis.call('HLEN', REQUESTS) > 0 or redis.call('HLEN', SWEPT) > 0 then return {} end
local taken = {}
local all = redis.call('HGETALL', MONEY)
for i = 1, #all, 2 do
  local currency = string.match(all[i], '^escrow:(.*)$')
  if currency and tonumber(all[i + 1]) > 0 then
    redis.call('HDEL', MONEY, all[i])
    taken[#taken + 1] = currency
    taken[#taken + 1] = tonumber(all[i + 1])
  end
end
return taken
"""

# ARGV: {ttl ms, most}. Answers {number of unsettled requests, {id, stored request}, …} with those whose hold has
# expired, and forgets what was given up long ago.
EXPIRED = """
local ttl, most = unpack(cmsgpack.unpack(ARGV[1]))
fresh()
-- After the server's clock went back, nothing may last longer than it would have.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', HOLDS, now_ms + ttl + 1000, '+inf', 'LIMIT', 0, most)) do
  set_hold(id, ttl)
end
if redis.call('HLEN', SWEPT) > 0 then
  local all = redis.call('HGETALL', SWEPT)
  for i = 1, #all, 2 do
    if tonumber(string.sub(all[i + 1], 1, 13)) < now_ms - 7 * DAY_MS then redis.call('HDEL', SWEPT, all[i]) end
  end
end
local answer = {0}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', HOLDS, '-inf', now_ms, 'LIMIT', 0, most)) do
  local raw = redis.call('HGET', REQUESTS, id)
  if raw then answer[#answer + 1] = {id, raw} else redis.call('ZREM', HOLDS, id) end
end
answer[1] = redis.call('HLEN', REQUESTS)
return answer
"""

# ARGV: {month, scope, token, ttl ms, {{id, month, record}, …} of requests that another memory left unsettled}.
# Begins a month's counter of one scope with what is in flight. Answers {1, id, …} with the requests that it counts in
# (PostgreSQL's sum must leave them out), or {0} when the counter is there or somebody else has just begun.
SEED = """
local ym, scope, token, ttl, carried = unpack(cmsgpack.unpack(ARGV[1]))
fresh()
local field = ym .. '|' .. scope
local raw = redis.call('HGET', MONTHS, field)
if raw then
  local _, seeding = counters(raw)
  if seeding == '' or now_ms - tonumber(string.match(seeding, '^(%d+):')) < 2000 then return {0} end
  redis.call('HDEL', MONTHS, field)
end
for _, each in ipairs(carried) do
  local id, of, record = unpack(each)
  if record[1] ~= EPOCH and redis.call('HEXISTS', REQUESTS, id) == 0 and redis.call('HEXISTS', SWEPT, id) == 0 then
    store(id, of, now, record)
    set_hold(id, ttl)
    count(of, record[4], 1, record[3], 0, record[2])
  end
end
local c, ids = {0, 0, 0, 0}, {1}
local all = redis.call('HGETALL', REQUESTS)
for i = 1, #all, 2 do
  local of, _, record = stored(all[i + 1])
  if of == ym then
    for _, each in ipairs(record[4]) do
      if each == scope then
        c[1], c[2], c[4] = c[1] + 1, c[2] + record[3], c[4] + record[2]
        ids[#ids + 1] = all[i]
      end
    end
  end
end
redis.call('HSET', MONTHS, field, packed(c, whole(now_ms) .. ':' .. token))
redis.call('PEXPIRE', MONTHS, 40 * DAY_MS)
for _, name in ipairs(redis.call('HKEYS', MONTHS)) do
  local old = tonumber(ym) - tonumber(string.sub(name, 1, 6))
  if old > 1 and old ~= 89 then redis.call('HDEL', MONTHS, name) end
end
return ids
"""

# ARGV: {month, scope, token, calls, tokens, GPU µs, nano}. Adds PostgreSQL's sums. Answers 1, or 0 for another's token.
SEEDED = """
local ym, scope, token, calls, tokens, gpu, nano = unpack(cmsgpack.unpack(ARGV[1]))
fresh()
local field = ym .. '|' .. scope
local raw = redis.call('HGET', MONTHS, field)
if not raw then return 0 end
local c, seeding = counters(raw)
if string.match(seeding, ':(.*)$') ~= token then return 0 end
c = {math.max(0, c[1] + calls), math.max(0, c[2] + tokens), math.max(0, c[3] + gpu), math.max(0, c[4] + nano)}
redis.call('HSET', MONTHS, field, packed(c, ''))
return 1
"""

# No tenant's keys. Asks whether the server still is the one that the texts were loaded into.
SAME = "-- @EPOCH@\nreturn 1"

# KEYS: the epoch's hash. Answers for how long, ms, this memory has been in use.
AGE = """-- @EPOCH@
local time = redis.call('TIME')
local now_ms = math.floor((time[1] * 1000000 + time[2]) / 1000)
local found = redis.call('HMGET', KEYS[1], 'epoch', 'since')
if found[1] ~= '@EPOCH@' then
  redis.call('HSET', KEYS[1], 'epoch', '@EPOCH@', 'since', string.format('%.0f', now_ms))
  return 0
end
return math.max(0, now_ms - tonumber(found[2]))
"""

BODIES = {
    "admit": ADMIT,
    "free": FREE,
    "renew": RENEW,
    "release": RELEASE,
    "credit": CREDIT,
    "take": TAKE,
    "extend": EXTEND,
    "expired": EXPIRED,
    "seed": SEED,
    "seeded": SEEDED,
}


def texts(epoch: str, *, clock: str = CLOCK) -> dict[str, str]:
    """Every script for one epoch. Raises ValueError for an epoch that is no `run_id`. `clock` is for tests."""
    if not (epoch and epoch.isascii() and epoch.isalnum()):
        raise ValueError("an epoch is a server's run_id")
    prelude = _PRELUDE.replace("@CLOCK@", clock)
    found = {name: linked(prelude, body) for name, body in BODIES.items()} | {"same": SAME, "age": AGE}
    return {name: text.replace("@EPOCH@", epoch) for name, text in found.items()}
