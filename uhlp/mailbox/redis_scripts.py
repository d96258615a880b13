"""What Redis does with a mailbox in one atomic step each, judged by its own TIME.

KEYS: `ready` (LIST of ids), `leased` and `delayed` (ZSETs of ids by microseconds since the epoch), `messages` (HASH:
the fields of each message as `<id>:<field>`, `bytes` of all bodies, and `counter`, from which ids and tokens are made),
`dead` (LIST) and `dead:messages` (HASH, with `bytes` too). ARGV: max_deliveries, the milliseconds that a reply queue
lives ('' for others), capacity, the microseconds below which a new time is rung for; then the step's own.
"""

_STEP = """
local READY, LEASED, DELAYED, MESSAGES, DEAD, DEAD_MESSAGES = unpack(KEYS)
local MAX_DELIVERIES, CAPACITY, RING_BELOW = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])
local FIELDS = {'body', 'enqueued_at', 'reply_to', 'in_reply_to', 'deliveries'}
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local function whole(number) return string.format('%.0f', number) end
local function ring() redis.call('PUBLISH', READY, '') end
local function kept() return redis.call('LLEN', READY) + redis.call('ZCARD', LEASED) + redis.call('ZCARD', DELAYED) end

local function names(id)
  local found = {}
  for at, field in ipairs(FIELDS) do found[at] = id .. ':' .. field end
  return found
end

local function values(hash, id) return redis.call('HMGET', hash, unpack(names(id))) end

local function bytes(hash) return tonumber(redis.call('HGET', hash, 'bytes') or '0') end
local function grow(hash, by) redis.call('HSET', hash, 'bytes', whole(math.max(0, bytes(hash) + by))) end

local function move(id, from, to)
  local kept = values(from, id)
  grow(from, -#kept[1])
  grow(to, #kept[1])
  for at, name in ipairs(names(id)) do redis.call('HSET', to, name, kept[at]) end
  redis.call('HDEL', from, id .. ':token', id .. ':reason', id .. ':died_at', unpack(names(id)))
end

local function bury(id, reason)
  move(id, MESSAGES, DEAD_MESSAGES)
  redis.call('HSET', DEAD_MESSAGES, id .. ':reason', reason, id .. ':died_at', whole(now))
  redis.call('RPUSH', DEAD, id)
end

local function come_back(id, deliveries, reason, delay)
  if deliveries >= MAX_DELIVERIES then
    bury(id, 'delivered ' .. deliveries .. ' times, at last: ' .. reason)
  elseif delay > 0 then
    redis.call('ZADD', DELAYED, whole(now + delay), id)
  else
    redis.call('RPUSH', READY, id)
  end
end

local function end_lease(id)
  redis.call('ZREM', LEASED, id)
  redis.call('HDEL', MESSAGES, id .. ':token')
  return tonumber(redis.call('HGET', MESSAGES, id .. ':deliveries'))
end

local function holds(id, token) return redis.call('HGET', MESSAGES, id .. ':token') == token end

local due = {}
for _, key in ipairs({LEASED, DELAYED}) do
  local found = redis.call('ZRANGEBYSCORE', key, '-inf', whole(now), 'WITHSCORES')
  for at = 1, #found, 2 do due[#due + 1] = {id = found[at], at = tonumber(found[at + 1]), key = key} end
end
table.sort(due, function(a, b) if a.at ~= b.at then return a.at < b.at end return a.id < b.id end)
for _, one in ipairs(due) do
  if one.key == LEASED then
    come_back(one.id, end_lease(one.id), 'its lease ran out', 0)
  else
    redis.call('ZREM', DELAYED, one.id)
    redis.call('RPUSH', READY, one.id)
  end
end

local function step()
--STEP--
end
local result = step()
if ARGV[2] ~= '' then for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[2]) end end
return result
"""


def _step(lua: str) -> str:
    return _STEP.replace("--STEP--", lua.strip("\n"))


PUT = _step("""
  local body, delay, reply_to, in_reply_to, random = ARGV[5], tonumber(ARGV[6]), ARGV[7], ARGV[8], ARGV[9]
  local total_bytes = tonumber(ARGV[10])
  if math.max(kept(), redis.call('LLEN', DEAD)) >= CAPACITY then return false end
  if math.max(bytes(MESSAGES) + #body, bytes(DEAD_MESSAGES) + 1) > total_bytes then return false end
  grow(MESSAGES, #body)
  local id = string.format('%016.0f', redis.call('HINCRBY', MESSAGES, 'counter', 1)) .. '-' .. random
  redis.call('HSET', MESSAGES, id .. ':body', body, id .. ':enqueued_at', whole(now), id .. ':reply_to', reply_to,
    id .. ':in_reply_to', in_reply_to, id .. ':deliveries', 0)
  come_back(id, 0, '', delay)
  if delay < RING_BELOW then ring() end
  return id
""")

TAKE = _step("""
  local most, timeout = tonumber(ARGV[5]), tonumber(ARGV[6])
  local taken = {}
  for at = 1, most do
    local id = redis.call('LPOP', READY)
    if not id then break end
    local token = redis.call('HINCRBY', MESSAGES, 'counter', 1)
    redis.call('HINCRBY', MESSAGES, id .. ':deliveries', 1)
    redis.call('HSET', MESSAGES, id .. ':token', token)
    redis.call('ZADD', LEASED, whole(now + timeout), id)
    taken[at] = {id, token, unpack(values(MESSAGES, id))}
  end
  if #taken > 0 then
    if timeout < RING_BELOW then ring() end
    return {'', unpack(taken)}
  end
  local next_in = ''
  for _, key in ipairs({LEASED, DELAYED}) do
    local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    if first[2] and (next_in == '' or first[2] - now < next_in) then next_in = first[2] - now end
  end
  return {next_in == '' and '' or whole(next_in)}
""")

ACKNOWLEDGE = _step("""
  local id, token = ARGV[5], ARGV[6]
  if not holds(id, token) then return 0 end
  end_lease(id)
  grow(MESSAGES, -redis.call('HSTRLEN', MESSAGES, id .. ':body'))
  redis.call('HDEL', MESSAGES, unpack(names(id)))
  return 1
""")

GIVE_BACK = _step("""
  local id, token, delay, reason = ARGV[5], ARGV[6], tonumber(ARGV[7]), ARGV[8]
  if not holds(id, token) then return 0 end
  come_back(id, end_lease(id), reason, delay)
  if delay < RING_BELOW then ring() end
  return 1
""")

EXTEND = _step("""
  local id, token, timeout = ARGV[5], ARGV[6], tonumber(ARGV[7])
  if not holds(id, token) then return 0 end
  redis.call('ZADD', LEASED, whole(math.max(now + timeout, redis.call('ZSCORE', LEASED, id))), id)
  return 1
""")

BURY = _step("""
  local id, token, reason = ARGV[5], ARGV[6], ARGV[7]
  if not holds(id, token) then return 0 end
  end_lease(id)
  bury(id, reason)
  return 1
""")

UNDO = _step("""
  local id, token, delay = ARGV[5], ARGV[6], tonumber(ARGV[7])
  if not holds(id, token) then return 0 end
  end_lease(id)
  redis.call('HINCRBY', MESSAGES, id .. ':deliveries', -1)
  if delay > 0 then
    redis.call('ZADD', DELAYED, whole(now + delay), id)
  else
    redis.call('LPUSH', READY, id)
  end
  if delay < RING_BELOW then ring() end
  return 1
""")

COUNTS = _step("""
  local leased, delayed = redis.call('ZCARD', LEASED), redis.call('ZCARD', DELAYED)
  return {redis.call('LLEN', READY), leased, delayed, redis.call('LLEN', DEAD)}
""")

DEAD = _step("""
  local found = {}
  for at, id in ipairs(redis.call('LRANGE', DEAD, 0, ARGV[5] - 1)) do
    local end_of = redis.call('HMGET', DEAD_MESSAGES, id .. ':reason', id .. ':died_at')
    found[at] = {end_of[1], end_of[2], id, 0, unpack(values(DEAD_MESSAGES, id))}
  end
  return found
""")

REVIVE = _step("""
  local id = ARGV[5]
  if redis.call('HEXISTS', DEAD_MESSAGES, id .. ':body') == 0 then return 0 end
  local size = redis.call('HSTRLEN', DEAD_MESSAGES, id .. ':body')
  if kept() >= CAPACITY or bytes(MESSAGES) + size > tonumber(ARGV[6]) then return -1 end
  redis.call('LREM', DEAD, 1, id)
  move(id, DEAD_MESSAGES, MESSAGES)
  redis.call('HSET', MESSAGES, id .. ':deliveries', 0)
  redis.call('RPUSH', READY, id)
  ring()
  return 1
""")

PURGE_DEAD = _step("""
  local dead = redis.call('LLEN', DEAD)
  redis.call('DEL', DEAD, DEAD_MESSAGES)
  return dead
""")

CLEAR = _step("""
  local all, counter = kept() + redis.call('LLEN', DEAD), redis.call('HGET', MESSAGES, 'counter')
  redis.call('DEL', READY, LEASED, DELAYED, MESSAGES, DEAD, DEAD_MESSAGES)
  if counter then redis.call('HSET', MESSAGES, 'counter', counter) end
  return all
""")
