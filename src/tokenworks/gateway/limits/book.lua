-- The book of book.py in Redis or Valkey: one call, one atomic step. MemoryBook is the same in Python, line by line.
-- KEYS[1]: what all keys begin with. ARGV: the operation, its arguments in msgpack, and the time in seconds (empty:
-- the server's, so that the clocks of hosts do not matter).
local at = KEYS[1]
local MEMBERS, SURE, BUDGETS, NUMBER = at .. ':members', at .. ':sure', at .. ':budgets', at .. ':number'
local LOGS = at .. ':logs' -- member -> the ledger log that it writes
local MOURNED_S = 60
local KEPT_S = 62 * 86400 -- longer than any month
local MOST_BUDGETS = 100000
local now = tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1e6
end

local function exact(number) return string.format('%.17g', number) end
local function key(what, name) return at .. ':' .. what .. ':' .. name end

local living = {}
local mourned = {} -- member -> its log
local function forget(member)
  redis.call('ZREM', MEMBERS, member)
  redis.call('HDEL', LOGS, member)
end

local function lives(member)
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', MEMBERS, '(' .. exact(now), '+inf')) do living[name] = true end
  local dead = redis.call('ZRANGEBYSCORE', MEMBERS, '-inf', exact(now), 'WITHSCORES')
  for i = 1, #dead, 2 do
    local log = redis.call('HGET', LOGS, dead[i])
    if log and log ~= '' and tonumber(dead[i + 1]) + MOURNED_S > now then mourned[dead[i]] = log
    else forget(dead[i]) end
  end
  return living[member] == true
end

-- What those held who died and wrote the log of `member` is spent or not, and it knows.
local function relieve(member, name)
  if not next(mourned) then return end
  local log = redis.call('HGET', LOGS, member)
  for dead, written in pairs(mourned) do
    if written == log then redis.call('HDEL', key('held', name), dead) end
  end
end

local function tell(member, told)
  for name, logs in pairs(told) do
    local heard = key('told', name)
    if redis.call('EXISTS', heard) == 0 then
      redis.call('ZADD', BUDGETS, redis.call('INCR', NUMBER), name)
      redis.call('ZREMRANGEBYRANK', BUDGETS, 0, -1 - MOST_BUDGETS)
    end
    redis.call('SADD', heard, member)
    redis.call('EXPIRE', heard, KEPT_S)
    local spent = key('spent', name)
    for log, tokens in pairs(logs) do
      if tokens > tonumber(redis.call('HGET', spent, log) or 0) then
        redis.call('HSET', spent, log, exact(tokens))
        redis.call('EXPIRE', spent, KEPT_S)
      end
    end
    relieve(member, name)
  end
end

local function level(name, limit)
  local kept = redis.call('HMGET', key('rate', name), 'level', 'at')
  local before = tonumber(kept[1] or limit)
  local elapsed = math.max(0, now - tonumber(kept[2] or now))
  return math.min(limit, before + elapsed * limit / 60)
end

local function fill(name, amount)
  redis.call('HSET', key('rate', name), 'level', exact(amount), 'at', exact(now))
  redis.call('EXPIRE', key('rate', name), 3600)
end

local function spent_of(name)
  local sum = 0
  for _, tokens in ipairs(redis.call('HVALS', key('spent', name))) do sum = sum + tonumber(tokens) end
  return sum
end

-- What living members hold, of budgets also those that are mourned; what others held is forgotten.
local function held_of(name, kind)
  local sum, pairs_of = 0, redis.call('HGETALL', key('held', name))
  for i = 1, #pairs_of, 2 do
    if living[pairs_of[i]] or (kind == 'budget' and mourned[pairs_of[i]]) then sum = sum + tonumber(pairs_of[i + 1])
    else redis.call('HDEL', key('held', name), pairs_of[i]) end
  end
  return sum
end

local function hold(member, name, amount)
  redis.call('HSET', key('held', name), member, exact(amount))
  redis.call('EXPIRE', key('held', name), KEPT_S)
end

local function holds(member, name) return tonumber(redis.call('HGET', key('held', name), member) or 0) end

local function left(name, kind, limit)
  if kind == 'rate' then
    local has = level(name, limit)
    return {has, limit > 0 and (limit - has) * 60 / limit or 60}
  end
  return {math.max(0, limit - spent_of(name) - held_of(name, kind)), 0}
end

-- Whether everybody has told what was spent, also those who have yet to come back after a loss.
local function sure(name)
  if now < tonumber(redis.call('GET', SURE) or now + 1) then return false end
  for member in pairs(living) do
    if redis.call('SISMEMBER', key('told', name), member) == 0 then return false end
  end
  return true
end

-- {granted, left, blocked, retry_s, later}
local function refusal(parts)
  local later
  for number, part in ipairs(parts) do
    local name, kind, limit, amount = part[1], part[2], part[3], part[4]
    if kind == 'rate' then
      local has = level(name, limit)
      if amount > has then
        local wait = (amount > 0 and amount <= limit) and (amount - has) * 60 / limit or -1
        return {false, {left(name, kind, limit)}, number - 1, wait, false}
      end
    else
      local spent, held = spent_of(name), held_of(name, kind)
      if spent + held + amount > limit then
        local no = {false, {{math.max(0, limit - spent - held), 0}}, number - 1, -1, spent + amount <= limit}
        if not no[5] then return no end
        later = later or no
      end
    end
  end
  if later then return later end
  for number, part in ipairs(parts) do
    if part[2] == 'budget' and not sure(part[1]) then
      return {false, {left(part[1], part[2], part[3])}, number - 1, -1, true}
    end
  end
  return nil
end

local function grant(member, parts)
  local rest = {}
  for _, part in ipairs(parts) do
    local name, kind, limit, amount = part[1], part[2], part[3], part[4]
    if kind == 'rate' then fill(name, level(name, limit) - amount)
    else hold(member, name, holds(member, name) + amount) end
  end
  for _, part in ipairs(parts) do rest[#rest + 1] = left(part[1], part[2], part[3]) end
  return {true, rest, -1, -1, false}
end

local does = {}

function does.join(a)
  local member, before, lease, grace, held, told, log = a[1], a[2], a[3], a[4], a[5], a[6], a[7]
  redis.call('SET', SURE, exact(now + grace), 'NX')
  forget(before)
  local writers = redis.call('HGETALL', LOGS)
  for i = 1, #writers, 2 do -- a log has one writer: others are dead
    if log and log ~= '' and writers[i + 1] == log then redis.call('ZADD', MEMBERS, 'XX', 'LT', exact(now), writers[i]) end
  end
  redis.call('ZADD', MEMBERS, exact(now + lease), member)
  redis.call('HSET', LOGS, member, log or '')
  lives(member)
  for name, amount in pairs(held) do hold(member, name, amount) end
  tell(member, told)
  return true
end

function does.beat(a)
  local member, lease, seen, told = a[1], a[2], a[3], a[4]
  if not lives(member) then return {false, 0, {}} end
  redis.call('ZADD', MEMBERS, exact(now + lease), member)
  tell(member, told)
  local names = redis.call('ZRANGEBYSCORE', BUDGETS, '(' .. exact(seen), '+inf')
  return {true, tonumber(redis.call('GET', NUMBER) or 0), names}
end

function does.work(a)
  local member, told, ends, asks = a[1], a[2], a[3], a[4]
  if not lives(member) then return {false, {}} end
  tell(member, told)
  for _, over in ipairs(ends) do
    local part, used = over[1], over[2]
    local name, kind, limit, amount = part[1], part[2], part[3], part[4]
    if kind == 'rate' then fill(name, math.min(limit, level(name, limit) + amount - used))
    else hold(member, name, math.max(0, holds(member, name) - amount)) end
  end
  local given = {}
  for _, ask in ipairs(asks) do
    local of = {}
    for _ = 1, ask[1] do
      local no = refusal(ask[2])
      of[#of + 1] = no or grant(member, ask[2])
      if no then break end
    end
    given[#given + 1] = of
  end
  return {true, given}
end

function does.leave(member)
  forget(member)
  return true
end

return cmsgpack.pack(does[ARGV[1]](cmsgpack.unpack(ARGV[2])))
