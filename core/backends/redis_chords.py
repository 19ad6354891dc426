"""The counts of chords in Redis, in the keys that Celery 5.7 workers count in too.

Below `celery-taskset-meta-<group id>` (protocol.md 6.3, 6.4): `.j` the parts, a sorted set of
members by index (a list with `result_chord_ordered: false`); `.s` how many there will be; `.t`
how many were added later; `.d` a set of `<task id>:<index>` that were counted; `.c` the claim of
whoever publishes the body, then `done`.  A fleet of both kinds of workers counts as one, so each
script must leave exactly what Celery's leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha1
from typing import Any

from ..wire.chord_part import Count, Part
from .base import Backend

# KEYS: .j .t .s .d, the saved group, .c
# ARGV: task id, member, "1" if ordered, index or "+inf", expiry of the chord (s, 0: for ever),
#       expiry of the saved group (s), seconds of a claim, token
# Counts a part that was not counted before, refreshes the expiries, claims a complete chord.
# Returns {counted (-1: done), added later or false, size or false, owned, ms a claim holds}.
_COUNT_SCRIPT = """
local j, t, s, d, group, c = unpack(KEYS)
local id, member, ordered, index = ARGV[1], ARGV[2], ARGV[3] == '1', ARGV[4]
local expiry, group_expiry = tonumber(ARGV[5]), tonumber(ARGV[6])
if redis.call('GET', c) == 'done' then
  return {-1, false, false, 0, 0}
end
if redis.call('SADD', d, id .. ':' .. index) == 1 then
  if ordered then
    redis.call('ZADD', j, index, member)
  else
    redis.call('RPUSH', j, member)
  end
end
local counted = redis.call(ordered and 'ZCARD' or 'LLEN', j)
if expiry > 0 then
  for _, key in ipairs({j, t, s, d}) do
    redis.call('EXPIRE', key, expiry)
  end
  if group_expiry > 0 then
    redis.call('EXPIRE', group, group_expiry)
  end
end
local added, size = redis.call('GET', t), redis.call('GET', s)
local owned, held = 0, 0
if size and counted == tonumber(size) + tonumber(added or 0) then
  if redis.call('SET', c, ARGV[8], 'NX', 'EX', ARGV[7]) then
    owned = 1
  else
    held = redis.call('PTTL', c)
  end
end
return {counted, added, size, owned, held}
"""

# KEYS: .c .s; ARGV: token, seconds.  Returns 1 if the claim is the token's from now on.
_HOLD_SCRIPT = """
local owner = redis.call('GET', KEYS[1])
if owner == ARGV[1] then
  return redis.call('EXPIRE', KEYS[1], ARGV[2])
end
if not owner and redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
  return 1
end
return 0
"""

# KEYS: .c .j .t .s .d; ARGV: token, seconds.  Drops the parts and says `done` for a while, if the
# claim is still the token's; returns whether it was.
_END_SCRIPT = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5])
redis.call('SET', KEYS[1], 'done', 'EX', ARGV[2])
return 1
"""

_SHAS = {script: sha1(script.encode()).hexdigest() for script in
         (_COUNT_SCRIPT, _HOLD_SCRIPT, _END_SCRIPT)}  # fmt: skip


#: Steps per question.
_STEPS_PER_COMMAND = 500


class ScriptMissing(Exception):
    """The server does not know a script (any more)."""


class RedisChords(Backend):
    """The chord verbs; the commands themselves are carried out by whoever inherits this."""

    counts_parts = True
    keeps_steps = True

    def _ask(self, commands: Sequence[Sequence[Any]], deadline: float | None = None) -> list[Any]:
        raise NotImplementedError

    def _group_key(self, group_id: str) -> bytes:
        raise NotImplementedError

    def begin_chord(self, group_id: str, size: int) -> None:
        key = self._group_key(group_id)
        expiry = _seconds(self.chord_expires)
        lifetime = ("EX", expiry) if expiry else ()
        self._ask([("DEL", key + b".c"), ("SET", key + b".s", size, *lifetime)])

    def grow_chord(self, group_id: str, more: int = 1) -> None:
        self._ask([("INCRBY", self._group_key(group_id) + b".t", more)])

    def count_part(self, part: Part, token: str, claim: float) -> Count:
        key = self._group_key(part.group_id)
        expiry = _seconds(self.chord_expires)
        kept = max(expiry, _seconds(self.expires)) if expiry and self.expires else 0
        counted, added, size, owned, held = self._run(
            _COUNT_SCRIPT,
            [key + b".j", key + b".t", key + b".s", key + b".d", key, key + b".c"],
            part.task_id,
            part.member,
            int(_ordered(self.options)),
            "+inf" if part.index is None else part.index,
            expiry,
            kept,
            _seconds(claim),
            token,
        )
        if counted < 0:
            return Count(0, None, done=True)
        total = None if size is None else int(size) + int(added or 0)
        return Count(counted, total, owned=bool(owned), held=max(0, held) / 1000)

    def load_parts(self, group_id: str) -> list[bytes]:
        command = "ZRANGE" if _ordered(self.options) else "LRANGE"
        members: list[bytes] = self._ask([(command, self._group_key(group_id) + b".j", 0, -1)])[0]
        return members

    def hold_chord(self, group_id: str, token: str, claim: float) -> bool:
        key = self._group_key(group_id)
        return bool(self._run(_HOLD_SCRIPT, [key + b".c", key + b".s"], token, _seconds(claim)))

    def end_chord(self, group_id: str, token: str, remember: float) -> bool:
        key = self._group_key(group_id)
        keys = [key + suffix for suffix in (b".c", b".j", b".t", b".s", b".d")]
        return bool(self._run(_END_SCRIPT, keys, token, _seconds(remember)))

    def fail_chord(self, group_id: str) -> None:
        self._ask([("DEL", self._group_key(group_id) + b".s")])

    # --- steps of workflows, `.step` below the key of a group of that id -----------------------

    def store_steps(self, steps: Mapping[str, bytes], lifetime: float | None) -> None:
        expiry = _seconds(lifetime)
        kept = ("EX", expiry) if expiry else ()
        self._ask([("SET", self._step_key(id), step, *kept) for id, step in steps.items()])

    def load_steps(self, ids: Sequence[str]) -> dict[str, bytes]:
        steps: dict[str, bytes] = {}
        for start in range(0, len(ids), _STEPS_PER_COMMAND):
            some = ids[start : start + _STEPS_PER_COMMAND]
            (found,) = self._ask([("MGET", *map(self._step_key, some))])
            steps.update((id, step) for id, step in zip(some, found, strict=True) if step)
        return steps

    def forget_steps(self, ids: Sequence[str], remember: float) -> None:
        for start in range(0, len(ids), _STEPS_PER_COMMAND):
            some = ids[start : start + _STEPS_PER_COMMAND]
            keys = [self._step_key(id) for id in some]
            left = self._ask([("TTL", key) for key in keys])
            soon = [key for key, ttl in zip(keys, left, strict=True) if not 0 <= ttl <= remember]
            if soon:
                self._ask([("EXPIRE", key, _seconds(remember)) for key in soon])

    def _step_key(self, id: str) -> bytes:
        return self._group_key(id) + b".step"

    def _run(self, script: str, keys: Sequence[bytes], *arguments: Any) -> Any:
        command = ("EVALSHA", _SHAS[script], len(keys), *keys, *arguments)
        try:
            return self._ask([command])[0]
        except ScriptMissing:
            return self._ask([("SCRIPT LOAD", script), command])[1]


def _ordered(options: Mapping[str, Any]) -> bool:
    return bool(options.get("result_chord_ordered", True))


def _seconds(lifetime: float | None) -> int:
    """Return whole seconds, as Redis takes them; 0 for ever."""
    return max(1, int(lifetime)) if lifetime else 0
