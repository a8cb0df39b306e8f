"""The queue's atomic steps, in Lua. Each touches one deployment's keys (one cluster slot) and may be run twice.

Order between tenants: the tenant that has received the least service goes first; a tenant that comes back from
idleness starts at the level of the last dispatch, so it gets no credit for the time away (law L8).
"""

from __future__ import annotations

# KEYS: requests, running, waiting:<tenant>, tenants, clock, wake
# ARGV: id, payload, tenant, limit. Returns {1, position} or {0, waiting} when the tenant's queue is full.
ENQUEUE = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return {1, redis.call('LLEN', KEYS[3])} end
local waiting = redis.call('LLEN', KEYS[3])
if waiting >= tonumber(ARGV[4]) then return {0, waiting} end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('RPUSH', KEYS[3], ARGV[1])
if not redis.call('ZSCORE', KEYS[4], ARGV[3]) then
  redis.call('ZADD', KEYS[4], tonumber(redis.call('GET', KEYS[5]) or '0'), ARGV[3])
end
redis.call('XADD', KEYS[6], 'MAXLEN', 1, '*', 'i', 1)
return {1, waiting + 1}
"""

# KEYS: requests, running, tenants, clock. ARGV: replica, room, prefix of the waiting lists. Returns the payloads.
PULL = """
local taken = {}
while #taken < tonumber(ARGV[2]) do
  local first = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
  if #first == 0 then break end
  local list = ARGV[3] .. first[1]
  local id = redis.call('LPOP', list)
  if id then
    local payload = redis.call('HGET', KEYS[1], id)
    if payload then
      redis.call('HSET', KEYS[2], id, ARGV[1])
      redis.call('SET', KEYS[4], first[2])
      redis.call('ZINCRBY', KEYS[3], 1, first[1])
      taken[#taken + 1] = payload
    end
  end
  if not id or redis.call('LLEN', list) == 0 then redis.call('ZREM', KEYS[3], first[1]) end
end
return taken
"""

# KEYS: requests, running, waiting:<tenant>. ARGV: id, prefix of the control streams.
# Takes a waiting request out, or tells its replica to stop. Returns the replica, '' when it was waiting, nil when gone.
CANCEL = """
local replica = redis.call('HGET', KEYS[2], ARGV[1])
if replica then
  redis.call('XADD', ARGV[2] .. replica, 'MAXLEN', '~', 10000, '*', 'cancel', ARGV[1])
  redis.call('EXPIRE', ARGV[2] .. replica, 3600)
  return replica
end
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return nil end
redis.call('LREM', KEYS[3], 1, ARGV[1])
return ''
"""

# KEYS: requests, running, waiting:<tenant>, tenants, clock, wake
# ARGV: id, payload, tenant, the lost replica, prefix of the control streams.
# Puts a request of a lost replica back at the head of its tenant's queue. Returns 1, or 0 when somebody was faster.
# Should the replica live after all, it is told to drop the request without a word.
REQUEUE = """
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[4] then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('XADD', ARGV[5] .. ARGV[4], 'MAXLEN', '~', 10000, '*', 'drop', ARGV[1])
redis.call('EXPIRE', ARGV[5] .. ARGV[4], 3600)
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('LPUSH', KEYS[3], ARGV[1])
if not redis.call('ZSCORE', KEYS[4], ARGV[3]) then
  redis.call('ZADD', KEYS[4], tonumber(redis.call('GET', KEYS[5]) or '0'), ARGV[3])
end
redis.call('XADD', KEYS[6], 'MAXLEN', 1, '*', 'i', 1)
return 1
"""

# KEYS: one hash. ARGV: field, JSON object without its closing brace. Stamps a heartbeat with Valkey's own clock.
BEAT = """
local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. '"at_ms":' .. string.format('%d', ms) .. '}')
return ms
"""
