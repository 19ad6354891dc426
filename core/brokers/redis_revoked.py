"""Revocations in the Redis broker: marks that are kept, and messages found by their task id."""

from __future__ import annotations

import json
from collections.abc import Sequence

from .base import MOST_MARKS
from .redis_keys import Keys
from .redis_line import Line, Script, command

#: Longest list in which messages are looked for: all of it has to be read.
_LOOKED_AT = 2000

#: Keep marks.  KEYS[1] the sorted set of marks   ARGV[1] seconds, ARGV[2] most marks, then marks
#: The key goes by itself with its last mark.
NOTE = Script("""
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
for _, old in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.6f', now))) do
  redis.call('ZREM', KEYS[1], old)
end
local till = now + tonumber(ARGV[1])
for i = 3, #ARGV do
  local known = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[i]) or 0)
  if known < till then redis.call('ZADD', KEYS[1], string.format('%.6f', till), ARGV[i]) end
end
local excess = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[2])
if excess > 0 then
  for _, first in ipairs(redis.call('ZRANGE', KEYS[1], 0, excess - 1)) do
    redis.call('ZREM', KEYS[1], first)
  end
end
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
if last then redis.call('PEXPIRE', KEYS[1], math.ceil((tonumber(last) - now) * 1000)) end
return 0
""")

#: Marks in one call of the script: its arguments stand on Lua's stack.
_AT_ONCE = 1000


def note(line: Line, keys: Keys, marks: Sequence[str], seconds: float) -> None:
    """Keep these marks."""
    for start in range(0, len(marks), _AT_ONCE):
        some = marks[start : start + _AT_ONCE]
        line.run(NOTE, [keys.revoked], [repr(float(seconds)), MOST_MARKS, *some])


def marks(line: Line, keys: Keys) -> dict[str, float]:
    """Return the marks that are kept, and for how many seconds more."""
    clock = command(b"TIME")
    (whole, micro), found = line.ask_all(
        [clock, command(b"ZRANGE", keys.revoked, 0, -1, b"WITHSCORES")]
    )
    now = int(whole) + int(micro) / 1e6
    pairs = zip(found[::2], found[1::2], strict=True)
    left = {mark.decode("utf-8", "surrogatepass"): float(until) - now for mark, until in pairs}
    return {mark: seconds for mark, seconds in left.items() if seconds > 0}


def cancel_waiting(
    line: Line, keys: Keys, queues: Sequence[str], task_ids: Sequence[str]
) -> list[bytes]:
    """Remove the waiting messages of these tasks from lists that are not long."""
    wanted = set(task_ids)
    lists = [key for queue in queues for key in keys.lists(queue)]
    sizes = line.ask_all([command(b"LLEN", key) for key in lists]) if lists else []
    dropped: list[bytes] = []
    for key, size in zip(lists, sizes, strict=True):
        if 0 < size <= _LOOKED_AT:
            for envelope in line.ask(b"LRANGE", key, 0, -1):
                # Whoever removes it has it: a worker may be faster.
                if _task_of(envelope) in wanted and line.ask(b"LREM", key, 1, envelope):
                    dropped.append(envelope)
    return dropped


def _task_of(envelope: bytes) -> str | None:
    try:
        found = json.loads(envelope)["headers"]["id"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, str) else None
