"""Leadership in Redis: a hash for the term, one for the notes, and a script for each step.

Times are the server's.  What is pushed comes as (command, list or channel, envelope), as
`redis_routing` writes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..wire.message import Publication
from .leading import Claim, Leadership
from .redis_keys import Keys
from .redis_line import Line, Script
from .redis_routing import Routing

_NOW = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
"""

#: Take or renew the lease.
#: KEYS term  ARGV candidate, lease, record, term that is taken over in any case
#: Returns {1 if held, term, seconds left as text, the leader's record}.
CLAIM = Script(
    _NOW
    + """
local held = redis.call('HMGET', KEYS[1], 'candidate', 'fence', 'until', 'record')
local fence = tonumber(held[2] or 0)
if held[1] ~= ARGV[1] then
  local left = tonumber(held[3] or 0) - now
  if held[1] and held[1] ~= '' and left > 0 and fence ~= tonumber(ARGV[4]) then
    return {0, fence, tostring(left), held[4]}
  end
  fence = fence + 1
end
redis.call('HSET', KEYS[1], 'candidate', ARGV[1], 'fence', fence, 'record', ARGV[3],
  'lease', ARGV[2], 'until', string.format('%.6f', now + tonumber(ARGV[2])))
return {1, fence, ARGV[2], ARGV[3]}
"""
)

#: Look at the term.  KEYS term  Returns {candidate, term, seconds left as text, record}, or nil.
LOOK = Script(
    _NOW
    + """
local held = redis.call('HMGET', KEYS[1], 'candidate', 'fence', 'until', 'record')
local left = tonumber(held[3] or 0) - now
if not held[1] or held[1] == '' or left <= 0 then return nil end
return {held[1], tonumber(held[2]), tostring(left), held[4]}
"""
)

#: Send and write notes, if the term is ours.
#: KEYS term, notes  ARGV candidate, term, how many notes, then key and value of each (an empty
#: value takes the note away), then what is pushed, in threes.
#: Returns 1, or 0 if the term is not ours.
POST = Script(
    _NOW
    + """
local held = redis.call('HMGET', KEYS[1], 'candidate', 'fence', 'lease')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then return 0 end
local notes = tonumber(ARGV[3])
for i = 4 + 2 * notes, #ARGV, 3 do redis.call(ARGV[i], ARGV[i + 1], ARGV[i + 2]) end
for i = 4, 3 + 2 * notes, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[2], ARGV[i])
  else
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
  end
end
redis.call('HSET', KEYS[1], 'until', string.format('%.6f', now + tonumber(held[3])))
return 1
"""
)

#: Give the term up.  KEYS term  ARGV candidate
RELEASE = Script(
    """
if redis.call('HGET', KEYS[1], 'candidate') == ARGV[1] then
  redis.call('HSET', KEYS[1], 'candidate', '')
end
return 0
"""
)


class RedisLeadership(Leadership):
    """See `leading.Leadership`; `line` returns the open line."""

    def __init__(
        self, name: str, candidate: str, line: Callable[[], Line], keys: Keys, routing: Routing
    ) -> None:
        super().__init__(name, candidate)
        self._line, self._routing = line, routing
        self._term = keys.key(f"taskctl.leader.{name}")
        self._ledger = keys.key(f"taskctl.ledger.{name}")
        self._fence = 0

    def claim(self, record: Mapping[str, Any], lease: float, *, over: int = 0) -> Claim:
        arguments: list[Any] = [self.candidate, repr(float(lease)), json.dumps(record), over]
        held, fence, left, text = self._line().run(CLAIM, [self._term], arguments)
        if held:
            self._fence = fence
        return Claim(
            held=bool(held), fence=fence, remaining=float(left), record=json.loads(text or b"{}")
        )

    def look(self) -> Claim | None:
        found = self._line().run(LOOK, [self._term], [])
        if found is None:
            return None
        candidate, fence, left, text = found
        return Claim(
            held=candidate.decode("utf-8", "surrogatepass") == self.candidate,
            fence=fence,
            remaining=float(left),
            record=json.loads(text),
        )

    def notes(self) -> dict[str, Any]:
        found = self._line().ask(b"HGETALL", self._ledger)
        pairs = zip(found[::2], found[1::2], strict=True)
        return {key.decode("utf-8", "surrogatepass"): json.loads(value) for key, value in pairs}

    def publish(self, publications: Sequence[Publication], notes: Mapping[str, Any]) -> bool:
        line = self._line()
        arguments: list[Any] = [self.candidate, self._fence, len(notes)]
        for key, value in notes.items():
            text = "" if value is None else json.dumps(value)
            arguments += [key.encode("utf-8", "surrogatepass"), text]
        targets = self._routing.targets(line, publications)
        for target in targets:
            arguments += target
        if not line.run(POST, [self._term, self._ledger], arguments):
            return False
        lists = {key for verb, key, _ in targets if verb == b"LPUSH"}
        expiries = [*self._routing.answers(publications), *self._routing.expiries(lists)]
        if expiries:
            line.ask_all(expiries)
        return True

    def release(self) -> None:
        self._line().run(RELEASE, [self._term], [self.candidate])
