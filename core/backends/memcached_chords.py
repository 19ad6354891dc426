"""Parts of chords, counted in memcached with Celery's counter.

Celery counts with one number, `chord-unlock-GROUP`, and reads the results of the saved header;
whoever sees the last part joins.  Beside it there are keys of ours: which parts are counted, how
many there will be, who has the claim.  A worker that dies between noting a part and counting it
leaves the chord one short; memcached has no step that does both.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from ..errors import DecodeError
from ..wire.chord_part import Count, Part
from . import rows

#: Must equal Celery 5.7 backends/base.py BaseKeyValueStoreBackend.chord_keyprefix.
CHORD_PREFIX = "chord-unlock-"
#: What a claim says once the body is published.
_DONE = b"done"


class CountsInMemcached:
    """The chord verbs of MemcachedBackend; `_ask_for` and the keys are its own."""

    counts_parts = True
    keeps_headers = True
    keeps_steps = True

    _ask_for: Callable[..., Any]
    load_group: Callable[[str], bytes | None]

    def _chord_key(self, group_id: str) -> str:
        raise NotImplementedError

    def _chord_ttl(self) -> int:
        raise NotImplementedError

    def _lifetime_ttl(self, lifetime: float | None) -> int:
        raise NotImplementedError

    def _get(self, key: str) -> bytes | None:
        value = self._ask_for(key, lambda client: client.get(key))
        return None if value is None else bytes(value)

    def _add(self, key: str, value: bytes, ttl: int) -> bool:
        return bool(
            self._ask_for(key, lambda client: client.add(key, value, expire=ttl, noreply=False))
        )

    def _set(self, key: str, value: bytes, ttl: int) -> None:
        self._ask_for(key, lambda client: client.set(key, value, expire=ttl, noreply=False))

    def _drop(self, *keys: str) -> None:
        for key in keys:
            self._ask_for(key, lambda client, key=key: client.delete(key, noreply=False))

    def _increase(self, key: str, more: int = 1) -> int:
        while True:
            number = self._ask_for(key, lambda client: client.incr(key, more))
            if number is not None:
                return int(number)
            self._add(key, b"0", self._chord_ttl())

    # --- the verbs --------------------------------------------------------------------------

    def make_counter(self, group_id: str) -> None:
        """Have Celery's counter, which its workers increase and do not make."""
        self._add(self._chord_key(group_id), b"0", self._chord_ttl())

    def begin_chord(self, group_id: str, size: int) -> None:
        key = self._chord_key(group_id)
        self.make_counter(group_id)
        self._set(f"{key}.s", str(size).encode(), self._chord_ttl())
        self._drop(f"{key}.c", f"{key}.f")

    def grow_chord(self, group_id: str, more: int = 1) -> None:
        self._increase(f"{self._chord_key(group_id)}.t", more)

    def count_part(self, part: Part, token: str, claim: float) -> Count:
        key = self._chord_key(part.group_id)
        if self._get(f"{key}.c") == _DONE:
            return Count(0, None, done=True)
        number = self._counted(key, part)
        size = self._size(part.group_id)
        if size is None or number < size:
            return Count(number, size)
        held = self._claim(key, token, claim)
        return Count(size, size, owned=held == 0.0, held=held)

    def _counted(self, key: str, part: Part) -> int:
        """Count a part that is not counted yet; return how many are."""
        ttl = self._chord_ttl()
        run = self._get(f"{key}.g")
        while run is None:  # the first part of this run of the chord
            self._add(f"{key}.g", uuid.uuid4().hex.encode(), ttl)
            run = self._get(f"{key}.g")
        name = f"{run.decode()}:{part.task_id}:{part.index}"
        if self._add(f"{key}.{sha256(name.encode()).hexdigest()[:40]}", b"1", ttl):
            return self._increase(key)
        return int(self._get(key) or b"0")

    def _size(self, group_id: str) -> int | None:
        """Return how many parts there will be; a sender that is Celery has saved the header."""
        key = self._chord_key(group_id)
        if self._get(f"{key}.f") is not None:
            return None
        size = self._get(f"{key}.s")
        grown = int(self._get(f"{key}.t") or b"0")
        if size is not None:
            return int(size) + grown
        header = self.load_group(group_id)
        if header is None:
            return None
        try:
            return _leaves(rows.take_apart(header)[0]["result"]) + grown
        except (DecodeError, KeyError, TypeError, IndexError):
            return None

    def _claim(self, key: str, token: str, claim: float) -> float:
        """Return 0 if the claim is ours now, else for how many seconds it is somebody's."""
        name, until = f"{key}.c", time.time() + claim
        if self._add(name, f"{token}|{until}".encode(), int(claim) + 1):
            return 0.0
        _, _, end = (self._get(name) or b"|0").partition(b"|")
        return max(float(end or b"0") - time.time(), 0.001)

    def load_parts(self, group_id: str) -> list[bytes]:
        return []

    def hold_chord(self, group_id: str, token: str, claim: float) -> bool:
        key = f"{self._chord_key(group_id)}.c"
        value = f"{token}|{time.time() + claim}".encode()
        ttl = int(claim) + 1

        def hold(client: Any) -> bool:
            old, mark = client.gets(key)
            if old is None:
                return bool(client.add(key, value, expire=ttl, noreply=False))
            if not bytes(old).startswith(f"{token}|".encode()):
                return False
            return bool(client.cas(key, value, mark, expire=ttl, noreply=False))

        return bool(self._ask_for(key, hold))

    def end_chord(self, group_id: str, token: str, remember: float) -> bool:
        key = self._chord_key(group_id)
        held = self._get(f"{key}.c") or b""
        ours, _, end = held.partition(b"|")
        if ours != token.encode() or float(end or b"0") <= time.time():
            return False
        self._set(f"{key}.c", _DONE, max(1, int(remember)))
        self._drop(key, f"{key}.s", f"{key}.t", f"{key}.g")
        return True

    def fail_chord(self, group_id: str) -> None:
        self._set(f"{self._chord_key(group_id)}.f", b"1", self._chord_ttl())

    # --- steps of workflows -------------------------------------------------------------------

    def store_steps(self, steps: Mapping[str, bytes], lifetime: float | None) -> None:
        ttl = self._lifetime_ttl(lifetime)
        for id, step in steps.items():
            self._set(self._step_key(id), step, ttl)

    def load_steps(self, ids: Sequence[str]) -> dict[str, bytes]:
        found = ((id, self._get(self._step_key(id))) for id in ids)
        return {id: step for id, step in found if step is not None}

    def forget_steps(self, ids: Sequence[str], remember: float) -> None:
        """As the contract says, but that a step whose end is nearer than that is kept longer:
        memcached tells nobody when a key ends."""
        ttl = self._lifetime_ttl(remember)
        for id in ids:
            key = self._step_key(id)
            self._ask_for(key, lambda client, key=key: client.touch(key, ttl, noreply=False))

    def _step_key(self, id: str) -> str:
        return f"{self._chord_key(id)}.step"


def _leaves(result: Any) -> int:
    """Return how many tasks a result tuple ends in (protocol.md 6.7)."""
    _, members = result
    return 1 if members is None else sum(map(_leaves, members))
