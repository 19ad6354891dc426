"""What a Redis broker does in one step, as Lua that runs inside the server.

Times are seconds of the server's clock.  A loan is recorded twice: as Celery does (hash `unacked`:
tag -> `[envelope, exchange, routing key]`; zset `unacked_index`: tag -> when), so that a Celery
peer can restore it, and in `taskctl.owned.<owner>`: tag -> `<microsecond> <place> <envelope size>
<list>`, which says whose it is and where it goes back to.

One rule keeps loans apart when a tag is used again: **no loan of an owner has a score beyond the
end of its lease.**  A higher score was written by someone who took the message after that.
"""

from __future__ import annotations

from .redis_line import Script

_NOW = """
local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1e6
end
local now = clock()
"""

# An owner speaks again after its lease had ended (it was paused): forget the loans that others
# have taken since, then extend the lease.
_RESUME = """
local function resume(unacked, index, owned, started, leases, owner, lease)
  local deadline = tonumber(redis.call('ZSCORE', leases, owner) or nil)
  if deadline and deadline >= now then return end
  if deadline then
    for _, tag in ipairs(redis.call('HKEYS', owned)) do
      local score = tonumber(redis.call('ZSCORE', index, tag) or nil)
      if (score and score > deadline) or redis.call('HEXISTS', unacked, tag) == 0 then
        redis.call('HDEL', owned, tag)
        redis.call('SREM', started, tag)
      end
    end
  end
  redis.call('ZADD', leases, string.format('%.6f', now + lease), owner)
end
"""

# The tables of held messages are four consecutive keys, beginning at KEYS[first].
# A record is `<size of list> <size of task id>\n<list><task id><envelope>`.
_UNPARK = """
local function unpark(first, member, back)
  local record = redis.call('HGET', KEYS[first + 1], member)
  if not record then
    redis.call('ZREM', KEYS[first], member)
    return nil
  end
  local a, b, at = string.match(record, '^(%d+) (%d+)\\n()')
  a, b = tonumber(a), tonumber(b)
  local list = string.sub(record, at, at + a - 1)
  local task = string.sub(record, at + a, at + a + b - 1)
  local envelope = string.sub(record, at + a + b)
  if back then
    local pushed = redis.pcall('RPUSH', list, envelope)
    if type(pushed) == 'table' then return nil end  -- refused: it stays where it is
  end
  redis.call('ZREM', KEYS[first], member)
  redis.call('HDEL', KEYS[first + 1], member)
  redis.call('ZREM', KEYS[first + 2], task .. '\\0' .. member)
  if redis.call('HINCRBY', KEYS[first + 3], list, -1) <= 0 then
    redis.call('HDEL', KEYS[first + 3], list)
  end
  return envelope
end
local function release(first, members)
  local released = 0
  for i = #members, 1, -1 do  -- the soonest last, for it is served first
    if unpark(first, members[i], true) then released = released + 1 end
  end
  return released
end
"""

#: Take up to ARGV[1] messages from all lists; record the loans.
#: KEYS unacked, unacked_index, owned, started, leases, due, due.messages, due.tasks, due.counts,
#:      then the lists: first step of each queue, second step of each queue, ...
#: ARGV limit, place of the queue to begin with (-1: the first, and the next one only when it is
#:      empty), unique word, owner, lease, number of queues, then for each queue: the end of its
#:      `unacked` entries, its x-expires in ms or 0.
#: Returns one text, for a reply of many parts costs the client more than the rest of the fetch:
#:      a line of numbers (seconds until a held message is due or -1, then for each message place
#:      of the queue, size of tag, size of envelope), a newline, and tags and envelopes end to end.
FETCH = Script(
    _NOW
    + _RESUME
    + _UNPARK
    + """
local limit, first, word = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local queues, strict = tonumber(ARGV[6]), first < 0
if strict then first = 0 end
-- A table of the wrong type must show before anything is popped; and a write that needs no memory
-- comes first, for after it a full server lets a script go on.
redis.call('HDEL', KEYS[1], '')
redis.call('HDEL', KEYS[3], '')
redis.call('ZCARD', KEYS[2])
resume(KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV[4], tonumber(ARGV[5]))
release(6, redis.call('ZRANGEBYSCORE', KEYS[6], '-inf', now, 'LIMIT', 0, 500))

local envelopes, places, lists, left, refused = {}, {}, {}, limit, nil
for base = 10, #KEYS, queues do
  local open = {}
  for i = 0, queues - 1 do open[#open + 1] = (first + i) % queues end
  while left > 0 and #open > 0 do
    -- equal shares; what one queue does not use is shared again
    local share, still = strict and left or math.max(1, math.floor(left / #open)), {}
    for _, place in ipairs(open) do
      if left == 0 then break end
      local want = math.min(share, left)
      local got = redis.pcall('RPOP', KEYS[base + place], want) or {}
      if got.err then refused, got = got, {} end
      for _, envelope in ipairs(got) do
        envelopes[#envelopes + 1] = envelope
        places[#places + 1] = place
        lists[#lists + 1] = KEYS[base + place]
      end
      left = left - #got
      if #got == want then still[#still + 1] = place end
    end
    open = still
  end
  if left == 0 then break end
end
for place = 0, queues - 1 do
  local expires = tonumber(ARGV[8 + 2 * place])
  if expires > 0 then
    for base = 10, #KEYS, queues do redis.call('PEXPIRE', KEYS[base + place], expires) end
  end
end

if refused and #envelopes == 0 then return refused end
local soonest = redis.call('ZRANGE', KEYS[6], 0, 0, 'WITHSCORES')[2]
local head = { soonest and string.format('%.3f', math.max(0, soonest - now)) or '-1' }
if #envelopes == 0 then return head[1] .. '\\n' end

-- kombu writes the tag last; a message of another make is read, and one that is no JSON is given
-- a tag of ours and kept out of Celery's index, for Celery could not restore it.
local tags, readable = {}, {}
for i, envelope in ipairs(envelopes) do
  local tag = string.match(string.sub(envelope, -100), '"delivery_tag": "([%w%-]+)"}}$')
  readable[i] = tag ~= nil
  if not tag then
    local fine, message = pcall(cjson.decode, envelope)
    readable[i] = fine and type(message) == 'table'
    tag = readable[i] and type(message.properties) == 'table' and message.properties.delivery_tag
    if type(tag) ~= 'string' or #tag > 200 or not string.find(tag, '^[%w%-_.:]+$') then
      tag = word .. '.' .. i
    end
  end
  tags[i] = tag
end
-- One message bound to two queues travels under one tag.
local seen = {}
for from = 1, #tags, 1000 do
  local upto = math.min(from + 999, #tags)
  local scores = redis.call('ZMSCORE', KEYS[2], unpack(tags, from, upto))
  for i = from, upto do
    if scores[i - from + 1] or seen[tags[i]] then tags[i] = word .. '.' .. i end
    seen[tags[i]] = true
  end
end

local us = string.format('%.0f', now * 1e6)
for from = 1, #tags, 1000 do
  local scores, entries, owned = {}, {}, {}
  for i = from, math.min(from + 999, #tags) do
    local tag, envelope = tags[i], envelopes[i]
    if readable[i] then
      -- falling: a small zset is a list searched from the lowest score, and 100 equal ones in a
      -- row cost it more than all the rest of this script (375 us, 35 us this way)
      scores[#scores + 1] = string.format('%.6f', now - i / 1e6)
      scores[#scores + 1] = tag
    end
    entries[#entries + 1] = tag
    entries[#entries + 1] = '[' .. envelope .. ARGV[7 + 2 * places[i]]
    owned[#owned + 1] = tag
    owned[#owned + 1] = us .. ' ' .. i .. ' ' .. #envelope .. ' ' .. lists[i]
    head[#head + 1] = places[i] .. ' ' .. #tag .. ' ' .. #envelope
  end
  if #scores > 0 then redis.call('ZADD', KEYS[2], unpack(scores)) end
  redis.call('HSET', KEYS[1], unpack(entries))
  redis.call('HSET', KEYS[3], unpack(owned))
end
local parts = { table.concat(head, ' '), '\\n' }
for i, envelope in ipairs(envelopes) do
  parts[#parts + 1] = tags[i]
  parts[#parts + 1] = envelope
end
return table.concat(parts)
"""
)

#: Forget loans of this owner and publish, in one step; publish first, for a full server refuses
#: the first write of a script and then nothing has happened.
#: KEYS unacked, unacked_index, owned, started, leases
#: ARGV owner, lease, number of tags, the tags, then for each publication: LPUSH or PUBLISH, its
#:      list or channel, the envelope.
ACK = Script(
    _NOW
    + _RESUME
    + """
local count = tonumber(ARGV[3])
for i = count + 4, #ARGV, 3 do redis.call(ARGV[i], ARGV[i + 1], ARGV[i + 2]) end
if count == 0 or redis.call('EXISTS', KEYS[3]) == 0 then return 0 end
redis.call('HDEL', KEYS[3], '')  -- a write that needs no memory: acks go on on a full server
resume(KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV[1], tonumber(ARGV[2]))
local known = 0
for from = 4, count + 3, 1000 do
  local upto = math.min(from + 999, count + 3)
  local mine = {}
  local held = redis.call('HMGET', KEYS[3], unpack(ARGV, from, upto))
  for i = from, upto do
    if held[i - from + 1] then mine[#mine + 1] = ARGV[i] end
  end
  if #mine > 0 then
    redis.call('HDEL', KEYS[3], unpack(mine))
    redis.call('SREM', KEYS[4], unpack(mine))
    redis.call('ZREM', KEYS[2], unpack(mine))
    redis.call('HDEL', KEYS[1], unpack(mine))
    known = known + #mine
  end
end
return known
"""
)

#: Put loans back on their lists; ARGV come in the order that makes the first one served first.
#: KEYS unacked, unacked_index, owned, started, leases
#: ARGV 'own' or 'dead', owner, lease, then for each loan: tag, list, the envelope as it shall be.
#: Returns how many went back; -1 if a dead owner's lease goes on after all.
GIVE_BACK = Script(
    _NOW
    + _RESUME
    + """
local deadline = tonumber(redis.call('ZSCORE', KEYS[5], ARGV[2]) or nil)
if ARGV[1] == 'dead' then
  if not deadline or deadline >= now then return -1 end
else
  resume(KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV[2], tonumber(ARGV[3]))
  deadline = nil
end
local given = 0
redis.call('HDEL', KEYS[3], '')  -- a write that needs no memory: a full server lets us go on
for i = 4, #ARGV, 3 do
  local tag, list, envelope = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if redis.call('HEXISTS', KEYS[3], tag) == 1 then
    local score = tonumber(redis.call('ZSCORE', KEYS[2], tag) or nil)
    local others = deadline and score and score > deadline
    if not others and redis.call('HEXISTS', KEYS[1], tag) == 1 then
      redis.call('RPUSH', list, envelope)  -- first: if it is refused the loan stays
      redis.call('HDEL', KEYS[1], tag)
      redis.call('ZREM', KEYS[2], tag)
      given = given + 1
    end
    redis.call('HDEL', KEYS[3], tag)
    redis.call('SREM', KEYS[4], tag)
  end
end
return given
"""
)

#: Extend an owner's lease; keep its loans young, so that no Celery peer restores them.
#: KEYS unacked, unacked_index, owned, started, leases, nodes
#: ARGV owner, lease, node record
REGISTER = Script(
    _NOW
    + _RESUME
    + """
redis.call('HDEL', KEYS[3], '')  -- a write that needs no memory: leases go on on a full server
resume(KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV[1], tonumber(ARGV[2]))
redis.call('ZADD', KEYS[5], string.format('%.6f', now + tonumber(ARGV[2])), ARGV[1])
redis.call('HSET', KEYS[6], ARGV[1], string.format('%.6f', now) .. '\\n' .. ARGV[3])
local score = string.format('%.6f', now)
local tags = redis.call('HKEYS', KEYS[3])
for from = 1, #tags, 1000 do
  local young = {}
  for i = from, math.min(from + 999, #tags) do
    young[#young + 1] = score
    young[#young + 1] = tags[i]
  end
  redis.call('ZADD', KEYS[2], 'XX', unpack(young))
end
"""
)

#: Remove the traces of an owner that holds nothing any more.
#: KEYS owned, started, leases, nodes        ARGV 'own' or 'dead', owner
#: Returns {node record or owner or false if it was not there, how many leases go on}.
BURY = Script(
    _NOW
    + """
local deadline = tonumber(redis.call('ZSCORE', KEYS[3], ARGV[2]) or nil)
local node = redis.call('HGET', KEYS[4], ARGV[2])
local gone = false
if ARGV[1] == 'own' or (deadline and deadline < now and redis.call('HLEN', KEYS[1]) == 0) then
  gone = (deadline or node) and (node or ARGV[2])
  if redis.call('HLEN', KEYS[1]) == 0 then redis.call('ZREM', KEYS[3], ARGV[2]) end
  redis.call('DEL', KEYS[2])
  redis.call('HDEL', KEYS[4], ARGV[2])
end
return { gone, redis.call('ZCOUNT', KEYS[3], string.format('%.6f', now), '+inf') }
"""
)

#: Return the owners whose lease has ended.  KEYS leases
ENDED = Script(
    _NOW
    + """
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.6f', now))
"""
)

#: Turn a loan into a held message.
#: KEYS unacked, unacked_index, owned, started, due, due.messages, due.tasks, due.counts
#: ARGV tag, due, task id
#: Returns the seconds until it is due, false for an unknown tag.
PARK = Script(
    _NOW
    + """
local tag = ARGV[1]
local origin, entry = redis.call('HGET', KEYS[3], tag), redis.call('HGET', KEYS[1], tag)
redis.call('HDEL', KEYS[3], tag)
redis.call('SREM', KEYS[4], tag)
if not origin or not entry then return false end
redis.call('ZREM', KEYS[2], tag)
redis.call('HDEL', KEYS[1], tag)
local size, list = string.match(origin, '^%d+ %d+ (%d+) (.*)$')
local member = tag
while redis.call('HEXISTS', KEYS[6], member) == 1 do member = member .. '+' end
redis.call('ZADD', KEYS[5], ARGV[2], member)
redis.call('HSET', KEYS[6], member, #list .. ' ' .. #ARGV[3] .. '\\n' .. list .. ARGV[3]
  .. string.sub(entry, 2, 1 + tonumber(size)))
redis.call('ZADD', KEYS[7], 0, ARGV[3] .. '\\0' .. member)
redis.call('HINCRBY', KEYS[8], list, 1)
return string.format('%.3f', tonumber(ARGV[2]) - now)
"""
)

#: Drop held messages by task id.  KEYS the four of held messages   ARGV task ids
#: Returns their envelopes.
CANCEL_PARKED = Script(
    _UNPARK
    + """
local dropped = {}
for _, task in ipairs(ARGV) do
  local found = redis.call('ZRANGEBYLEX', KEYS[3], '[' .. task .. '\\0', '(' .. task .. '\\1')
  for _, entry in ipairs(found) do
    dropped[#dropped + 1] = unpark(1, string.sub(entry, #task + 2), false)
  end
end
return dropped
"""
)

#: Drop the held messages of some lists.  KEYS the four of held messages, then the lists
#: Returns how many.
DROP_HELD = Script(
    _UNPARK
    + """
local wanted, expected, dropped = {}, 0, 0
for i = 5, #KEYS do
  wanted[KEYS[i]] = true
  expected = expected + tonumber(redis.call('HGET', KEYS[4], KEYS[i]) or 0)
end
if expected == 0 then return 0 end
local records = redis.call('HGETALL', KEYS[2])
for i = 1, #records, 2 do
  local size, at = string.match(records[i + 1], '^(%d+) %d+\\n()')
  if size and wanted[string.sub(records[i + 1], at, at + tonumber(size) - 1)] then
    if unpark(1, records[i], false) then dropped = dropped + 1 end
  end
end
return dropped
"""
)

#: Put up to ARGV[1] held messages back on their lists, due or not.
#: KEYS the four of held messages       Returns how many.
RELEASE = Script(
    _UNPARK
    + """
local members = redis.call('ZREVRANGE', KEYS[1], 0, tonumber(ARGV[1]) - 1)
local soonest_first = {}
for i = #members, 1, -1 do soonest_first[#soonest_first + 1] = members[i] end
return release(1, soonest_first)
"""
)

#: Drop all messages of some lists; a script and no MULTI, which a full server refuses.
#: KEYS lists      Returns how many there were.
PURGE = Script(
    """
local count = 0
for _, list in ipairs(KEYS) do count = count + redis.call('LLEN', list) end
redis.call('DEL', unpack(KEYS))
return count
"""
)

#: Put messages in the place of one that waits; a refused push puts it back where it goes next.
#: KEYS lists of the queue
#: ARGV the envelope, then for each publication: LPUSH or PUBLISH, its list or channel, its envelope
#: Returns 1, or 0 if it does not wait there.
SWAP = Script(
    """
for _, list in ipairs(KEYS) do
  if redis.call('LREM', list, -1, ARGV[1]) == 1 then
    for i = 2, #ARGV, 3 do
      local pushed = redis.pcall(ARGV[i], ARGV[i + 1], ARGV[i + 2])
      if type(pushed) == 'table' then
        redis.call('RPUSH', list, ARGV[1])
        return pushed
      end
    end
    return 1
  end
end
return 0
"""
)

#: Restore one loan that a Celery worker left behind, unless it is one of ours.
#: KEYS unacked, unacked_index, leases
#: ARGV tag, newest score to touch, beginning of the names of `owned`, then list and envelope for
#:      each target; no target drops it from the index only.
#: Returns 1 if it was restored.
RESTORE = Script(
    """
local score = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not score or tonumber(score) > tonumber(ARGV[2]) then return 0 end
for _, owner in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  if redis.call('HEXISTS', ARGV[3] .. owner, ARGV[1]) == 1 then return 0 end
end
if #ARGV == 3 or redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  redis.call('ZREM', KEYS[2], ARGV[1])
  return 0
end
redis.call('HDEL', KEYS[1], '')  -- a write that needs no memory, as above
for i = 4, #ARGV, 2 do redis.call('RPUSH', ARGV[i], ARGV[i + 1]) end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[1], ARGV[1])
return 1
"""
)

#: Give up a lock that is still ours.  KEYS lock   ARGV token
UNLOCK = Script(
    """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
)

#: Bind a queue that will go away, and say until when its exchange's bindings are good.
#: Must do what kombu 5.7 REFRESH_BINDING does.
#: KEYS bindings, deadlines        ARGV binding, exchange, lifetime in ms
BIND_FOR_A_WHILE = Script(
    _NOW
    + """
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], 'GT', math.floor(now * 1000) + tonumber(ARGV[3]), ARGV[2])
"""
)

#: Delete bindings whose time is over.  Must do what kombu 5.7 SWEEP_BINDINGS does.
#: KEYS deadlines      ARGV names of binding sets and of permanent ones without exchange, limit
SWEEP_BINDINGS = Script(
    _NOW
    + """
local overdue = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', math.floor(now * 1000),
  'LIMIT', 0, tonumber(ARGV[3]))
for _, exchange in ipairs(overdue) do
  if redis.call('EXISTS', ARGV[2] .. exchange) == 0 then
    redis.call('DEL', ARGV[1] .. exchange)
  end
  redis.call('ZREM', KEYS[1], exchange)
end
return #overdue
"""
)
