"""Limits on a Redis server; each verb is one script, by the server's clock.

Keys, after the prefix of the options: `taskctl.pass.<key>` when the next pass would be good,
`taskctl.slots.<key>` a sorted set of holders by when their slot ends, `taskctl.lock.<key>` who
holds the lock, `taskctl.locks.<holder>` the set of the lock keys of one holder.  All of them
go by themselves.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ..brokers.redis_address import read_url
from ..brokers.redis_line import Line, Script
from ..brokers.redis_options import Options, read_options
from ..brokers.redis_sentinel import Finder
from ..errors import BrokerConnectionError, BrokerError, LimiterError
from .base import HORIZON, Limiter, LockWish, Passes, PassWish, Place, SlotWish

#: Longest wait for the server, in seconds: a worker's loop stands still meanwhile.
PATIENCE = 2.0

_NOW = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local function text(number) return string.format('%.6f', number) end
local function expire(key, seconds)
  redis.call('PEXPIRE', key, math.max(1, math.ceil(seconds * 1000)))
end
"""

#: As `next_passes`.  KEYS the pass keys   ARGV[1] horizon, then (interval, burst, wanted) for each
#: Returns for each "after delay delay ..."
RESERVE = Script(
    _NOW
    + """
local horizon, answers = tonumber(ARGV[1]), {}
for i, key in ipairs(KEYS) do
  local interval = tonumber(ARGV[3 * i - 1])
  local burst, wanted = tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1])
  local saved, tat = (burst - 1) * interval, tonumber(redis.call('GET', key) or 0)
  if tat > now + horizon + burst * interval + 1 then tat = now end
  local delays, start = {}, nil
  while true do
    start = math.max(now, tat - saved)
    if #delays == wanted or start - now > horizon then break end
    delays[#delays + 1] = text(start - now)
    tat = math.max(start, tat) + interval
  end
  if #delays > 0 then
    redis.call('SET', key, text(tat))
    expire(key, tat - now + 1)
  end
  answers[i] = text(math.max(0, start - now - horizon)) .. ' ' .. table.concat(delays, ' ')
end
return answers
"""
)

#: KEYS the slot keys   ARGV[1] seconds, then for each: size, how many holders, the holders
#: Returns for each the holders that have a slot.
OCCUPY = Script(
    _NOW
    + """
local till, at, answers = now + tonumber(ARGV[1]), 2, {}
for i, key in ipairs(KEYS) do
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', key, '-inf', text(now))) do
    redis.call('ZREM', key, old)
  end
  local size, count, given = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), {}
  local held = redis.call('ZCARD', key)
  for n = at + 2, at + 1 + count do
    local has = redis.call('ZSCORE', key, ARGV[n])
    if has or held < size then
      if not has then held = held + 1 end
      redis.call('ZADD', key, text(till), ARGV[n])
      given[#given + 1] = ARGV[n]
    end
  end
  if #given > 0 then
    local last = redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')[2]
    expire(key, tonumber(last) - now + 1)
  end
  answers[i] = given
  at = at + 2 + count
end
return answers
"""
)

#: KEYS a slot key for each place   ARGV their holders
VACATE = Script("""
for i, key in ipairs(KEYS) do redis.call('ZREM', key, ARGV[i]) end
return 0
""")

#: KEYS a slot key for each place   ARGV[1] seconds, then their holders
RENEW = Script(
    _NOW
    + """
local till = now + tonumber(ARGV[1])
for i, key in ipairs(KEYS) do
  redis.call('ZADD', key, text(till), ARGV[i + 1])
  expire(key, tonumber(ARGV[1]) + 1)
end
return 0
"""
)

#: Words to begin with for the scripts about locks.  The value of a lock is its holder, with a line
#: end behind it once its task runs.
_LOCKS = """
local function owner_of(key)
  local value = redis.call('GET', key)
  if not value then return nil, false end
  if string.sub(value, -1) == '\\n' then return string.sub(value, 1, -2), true end
  return value, false
end
"""

#: KEYS lock key, key of the holder's set, for each wish   ARGV holder, seconds, 1 if running, ...
#: Returns who holds each.
CLAIM = Script(
    _LOCKS
    + """
local owners = {}
for i = 1, #KEYS, 2 do
  local at = (i - 1) / 2 * 3
  local holder, wanted = ARGV[at + 1], math.max(1, math.ceil(tonumber(ARGV[at + 2]) * 1000))
  local running, owner = ARGV[at + 3] == '1', owner_of(KEYS[i])
  if not owner or owner == holder then
    if owner and not running then wanted = math.max(wanted, redis.call('PTTL', KEYS[i])) end
    redis.call('SET', KEYS[i], running and holder .. '\\n' or holder)
    redis.call('PEXPIRE', KEYS[i], wanted)
    redis.call('SADD', KEYS[i + 1], KEYS[i])
    if redis.call('PTTL', KEYS[i + 1]) < wanted then
      redis.call('PEXPIRE', KEYS[i + 1], wanted)
    end
    owner = holder
  end
  owners[#owners + 1] = owner
end
return owners
"""
)

#: KEYS lock key, key of the holder's set, for each place   ARGV[1] seconds, then the holders
EXTEND = Script(
    _LOCKS
    + """
local wanted = math.max(1, math.ceil(tonumber(ARGV[1]) * 1000))
for i = 1, #KEYS, 2 do
  local owner, running = owner_of(KEYS[i])
  if owner == ARGV[(i + 3) / 2] and not running then
    for _, key in ipairs({KEYS[i], KEYS[i + 1]}) do
      if redis.call('PTTL', key) < wanted then redis.call('PEXPIRE', key, wanted) end
    end
  end
end
return 0
"""
)

#: KEYS lock key, key of the holder's set, for each place   ARGV the holders
UNLOCK = Script(
    _LOCKS
    + """
for i = 1, #KEYS, 2 do
  if owner_of(KEYS[i]) == ARGV[(i + 1) / 2] then redis.call('DEL', KEYS[i]) end
  redis.call('SREM', KEYS[i + 1], KEYS[i])
end
return 0
"""
)

#: KEYS the holders' sets   ARGV the holders
FREE = Script(
    _LOCKS
    + """
for i, set in ipairs(KEYS) do
  for _, key in ipairs(redis.call('SMEMBERS', set)) do
    local owner, running = owner_of(key)
    if owner == ARGV[i] and not running then redis.call('DEL', key) end
    if owner ~= ARGV[i] or not running then redis.call('SREM', set, key) end
  end
end
return 0
"""
)


class RedisLimiter(Limiter):
    """Counters on a Redis server; see `base.Limiter`."""

    def __init__(self, url: str, *, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(url, options=options)
        self._address = read_url(url)
        known = {k: v for k, v in self.options.items() if k in Options.__struct_fields__}
        settings = read_options(known)
        patience = min(PATIENCE, settings.socket_timeout or PATIENCE)
        self._settings = msgspec.structs.replace(settings, socket_timeout=patience)
        self._finder = Finder(self._address, self._settings)
        self._prefix = settings.global_keyprefix.encode()
        self._lock = threading.Lock()
        self._line: Line | None = None
        self._pid = 0

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def _run(self, script: Script, keys: Sequence[bytes], arguments: Sequence[Any]) -> Any:
        """Run a script, on a new line if the old one has gone meanwhile."""
        with self._lock:
            try:
                fresh = self._ready()
                try:
                    return self._line_run(script, keys, arguments)
                except BrokerConnectionError:
                    if fresh:
                        raise
                    self._drop()
                    self._ready()
                    return self._line_run(script, keys, arguments)
            except BrokerError as exc:
                self._drop()
                raise LimiterError(f"shared limits: {exc}") from exc

    def _line_run(self, script: Script, keys: Sequence[bytes], arguments: Sequence[Any]) -> Any:
        assert self._line is not None
        return self._line.run(script, keys, arguments)

    def _ready(self) -> bool:
        """Have an open line of this process; return whether it is new."""
        if self._line is not None and self._pid == os.getpid() and self._line.alive:
            return False
        self._drop()
        self._line = Line(self._finder.find(PATIENCE), self._settings, PATIENCE)
        self._pid = os.getpid()
        return True

    def _key(self, kind: str, key: str) -> bytes:
        return self._prefix + f"taskctl.{kind}.{key}".encode("utf-8", "surrogatepass")

    # --- verbs --------------------------------------------------------------------------------

    def reserve(self, wishes: Sequence[PassWish]) -> list[Passes]:
        arguments: list[Any] = [HORIZON]
        for wish in wishes:
            arguments += [repr(float(wish.interval)), wish.burst, wish.wanted]
        replies = self._run(RESERVE, [self._key("pass", w.key) for w in wishes], arguments)
        found = []
        for reply in replies:
            after, *delays = map(float, reply.split())
            found.append(Passes(delays, after))
        return found

    def occupy(self, wishes: Sequence[SlotWish], seconds: float) -> list[list[str]]:
        arguments: list[Any] = [repr(float(seconds))]
        for wish in wishes:
            arguments += [wish.size, len(wish.holders), *wish.holders]
        replies = self._run(OCCUPY, [self._key("slots", w.key) for w in wishes], arguments)
        return [[holder.decode("utf-8", "surrogatepass") for holder in one] for one in replies]

    def vacate(self, places: Iterable[Place]) -> None:
        known = list(places)
        if known:
            keys = [self._key("slots", key) for key, _ in known]
            self._run(VACATE, keys, [holder for _, holder in known])

    def renew(self, places: Iterable[Place], seconds: float) -> None:
        known = list(places)
        if known:
            keys = [self._key("slots", key) for key, _ in known]
            self._run(RENEW, keys, [repr(float(seconds)), *(holder for _, holder in known)])

    def claim(self, wishes: Sequence[LockWish]) -> list[str]:
        arguments: list[Any] = []
        for wish in wishes:
            arguments += [wish.holder, repr(float(wish.seconds)), int(wish.running)]
        replies = self._run(CLAIM, self._lock_keys([(w.key, w.holder) for w in wishes]), arguments)
        return [owner.decode("utf-8", "surrogatepass") for owner in replies]

    def extend(self, places: Iterable[Place], seconds: float) -> None:
        known = list(places)
        if known:
            arguments = [repr(float(seconds)), *(holder for _, holder in known)]
            self._run(EXTEND, self._lock_keys(known), arguments)

    def unlock(self, places: Iterable[Place]) -> None:
        known = list(places)
        if known:
            self._run(UNLOCK, self._lock_keys(known), [holder for _, holder in known])

    def _lock_keys(self, places: Iterable[Place]) -> list[bytes]:
        return [
            name
            for key, holder in places
            for name in (self._key("lock", key), self._key("locks", holder))
        ]

    def free(self, holders: Iterable[str]) -> None:
        known = list(holders)
        if known:
            self._run(FREE, [self._key("locks", holder) for holder in known], known)
