"""Parts of chords, counted in the table of django-celery-results with Celery's counter.

Celery makes one row of ChordCounter before a header is sent: its results, and how many parts are
still to come.  Whoever takes the last one drops the row and joins.  Rows of ours stand beside it,
under names that no group has: one of notes for each chord, one for each part that a worker of
ours has counted, one for each step of a workflow that is kept.  The last part that we count is
taken off only when the body is published: until then Celery's workers can still end the chord,
should its owner die.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha256
from typing import Any

import msgspec
from django.db import connections, transaction  # type: ignore[import-untyped,unused-ignore]
from django.db.models import F, Q  # type: ignore[import-untyped,unused-ignore]

from ..errors import DecodeError
from ..wire.chord_part import Count, Part
from . import rows

#: What the names of our rows begin with: notes, parts, and steps of workflows.
_NOTES, _PART, _STEP = "taskctl:", "taskctl-part:", "taskctl-step:"
#: Longest id of a group that is a name as it is.
_LONGEST = 120
#: Rows per question of a sweep.
_ROWS_PER_QUERY = 500


class _Notes(msgspec.Struct):
    """What is known of a chord beside Celery's row, as JSON in the place of its results.

    `size` is None before that row was seen; `early` parts were counted until then.  `last` says
    that all are in, `ended` until when the chord is remembered as done (unix time).
    """

    group: str = ""
    size: int | None = None
    grown: int = 0
    early: int = 0
    last: bool = False
    failed: bool = False
    owner: str = ""
    held_until: float = 0.0
    ended: float = 0.0


class _Chord:
    """Celery's row of a chord and our notes, both locked until the end of the transaction."""

    def __init__(self, table: Any, group_id: str, lifetime: float | None) -> None:
        self.table, self.group_id = table, group_id
        self.name = _name(group_id)
        self.lifetime = lifetime
        self.left: int | None = self._locked(group_id, "count")
        self._was = self.left
        noted = self._locked(_NOTES + self.name, "sub_tasks")
        if noted is None:
            self._make(_NOTES + self.name, "")
            noted = self._locked(_NOTES + self.name, "sub_tasks")
        self.notes = msgspec.json.decode(noted, type=_Notes) if noted else _Notes()

    def _locked(self, name: str, column: str) -> Any:
        mine = self.table.filter(group_id=name)
        # SQLite has no locks of rows: who writes first has them all.
        if not mine.update(count=F("count")):
            return None
        return mine.select_for_update().values_list(column, flat=True).first()

    def _make(self, name: str, text: str, count: int | None = None) -> bool:
        """Make a row unless there is one; return whether there was none."""
        if self.table.filter(group_id=name).exists():
            return False
        columns = {"sub_tasks": text, "count": self._minute() if count is None else count}
        if connections[self.table.db].features.supports_ignore_conflicts:
            made = self.table.model(group_id=name, **columns)
            self.table.bulk_create([made], ignore_conflicts=True)
            return True
        return bool(self.table.get_or_create(group_id=name, defaults=columns)[1])

    def _minute(self) -> int:
        """Return when our rows may go, in minutes of unix time; 0 is never."""
        return _minute_in(self.lifetime) if self.lifetime else 0

    def start(self, size: int, results: str) -> None:
        """Have Celery's row; what an earlier run of the group has left is forgotten."""
        if self.notes.size is not None or self.notes.failed:
            self._forget_parts()
            self.notes = _Notes()
        if self.left is None:
            self._make(self.group_id, results, size)
            self.left = self._was = size
        else:
            self.table.filter(group_id=self.group_id).update(sub_tasks=results)
            self.left = size
        self.adopt(size)

    def adopt(self, size: int | None = None) -> None:
        """Know Celery's row from now on: take off what came before it.

        Celery counts a group inside a header as one part, and as many come as it has members.
        """
        assert self.left is not None
        if size is None:
            results = self.table.filter(group_id=self.group_id).values_list("sub_tasks", flat=True)
            found = json.loads(results[0])
            size = sum(map(_leaves, found))
            self.left += size - len(found)
        notes = self.notes
        notes.size = size + notes.grown
        self.left += notes.grown
        self._take_off(notes.early)
        notes.early = 0

    def resize(self, size: int) -> None:
        """Expect so many parts, of which those counted stay counted."""
        assert self.notes.size is not None and self.left is not None
        more = size + self.notes.grown - self.notes.size
        self.notes.size += more
        self.left = max(1, self.left + more)

    def grow(self, more: int) -> None:
        notes = self.notes
        notes.grown += more
        if notes.size is not None and self.left is not None:
            notes.size += more
            self.left += more - notes.last
            notes.last = False

    def count(self, part: Part) -> None:
        """Count a part that is not counted yet."""
        name = sha256(f"{part.task_id}:{part.index}".encode()).hexdigest()[:40]
        if not self._make(f"{_PART}{self.name}:{name}", ""):
            return
        if self.left is None:
            self.notes.early += 1
        else:
            self._take_off(1)

    def _take_off(self, parts: int) -> None:
        assert self.left is not None
        if parts and self.left <= parts:
            self.notes.last = True
        self.left = max(1, self.left - parts)

    def counted(self) -> int:
        assert self.notes.size is not None and self.left is not None
        return self.notes.size - (0 if self.notes.last else self.left)

    def give(self, token: str, until: float) -> None:
        self.notes.owner, self.notes.held_until = token, until

    def end(self, until: float) -> None:
        """Drop all but the word that it is done."""
        self.table.filter(group_id=self.group_id).delete()
        self.left = self._was = None
        self._forget_parts()
        self.notes = _Notes(size=self.notes.size, ended=until)
        self.lifetime = until - time.time()

    def fail(self) -> None:
        self.table.filter(group_id=self.group_id).delete()
        self.left = self._was = None
        self.notes.failed = True

    def _forget_parts(self) -> None:
        self.table.filter(group_id__startswith=f"{_PART}{self.name}:").delete()

    def save(self) -> None:
        if self.left != self._was:
            self.table.filter(group_id=self.group_id).update(count=self.left)
        self.notes.group = self.group_id
        noted = msgspec.json.encode(self.notes).decode()
        self.table.filter(group_id=_NOTES + self.name).update(sub_tasks=noted, count=self._minute())


class CountsInDjango:
    """The chord verbs of DjangoDatabaseBackend, whose `_database` it uses."""

    counts_parts = True
    keeps_headers = True
    keeps_steps = True
    chord_expires: float | None

    def _database(self, name: str, *, write: bool) -> AbstractContextManager[tuple[Any, str]]:
        raise NotImplementedError

    @contextmanager
    def _chord(self, group_id: str) -> Iterator[_Chord]:
        with (
            self._database("ChordCounter", write=True) as (table, alias),
            transaction.atomic(using=alias),
        ):
            chord = _Chord(table, group_id, self.chord_expires or None)
            yield chord
            chord.save()

    def keep_header(self, group_id: str, value: bytes) -> None:
        """Make Celery's row, before any part can end: its workers look for it."""
        members = rows.take_apart(value)[0]["result"][1] or []
        with self._chord(group_id) as chord:
            chord.start(sum(map(_leaves, members)), json.dumps(members))

    def load_header(self, group_id: str) -> list[Any] | None:
        """Return the results of a chord that is not at its end."""
        with self._database("ChordCounter", write=False) as (table, _):
            found = table.filter(group_id=group_id).values_list("sub_tasks", flat=True).first()
        members = json.loads(found) if found else None
        return [[group_id, None], members] if members else None

    def begin_chord(self, group_id: str, size: int) -> None:
        with self._chord(group_id) as chord:
            if chord.left is None:
                chord.start(size, "[]")
            else:
                chord.resize(size)

    def grow_chord(self, group_id: str, more: int = 1) -> None:
        with self._chord(group_id) as chord:
            if chord.left is not None and chord.notes.size is None:
                chord.adopt()
            chord.grow(more)

    def count_part(self, part: Part, token: str, claim: float) -> Count:
        now = time.time()
        with self._chord(part.group_id) as chord:
            notes = chord.notes
            if notes.failed:
                return Count(0, None)
            if notes.size is not None and chord.left is None:
                return Count(0, None, done=True)  # by us, or by a worker of Celery
            if notes.size is None and chord.left is not None:
                chord.adopt()
            chord.count(part)
            if notes.size is None:
                return Count(notes.early, None)
            count = Count(chord.counted(), notes.size)
            if not count.complete:
                return count
            if notes.held_until > now:
                return count._replace(held=notes.held_until - now)
            chord.give(token, now + claim)
            return count._replace(owned=True)

    def load_parts(self, group_id: str) -> list[bytes]:
        return []

    def hold_chord(self, group_id: str, token: str, claim: float) -> bool:
        now = time.time()
        with self._chord(group_id) as chord:
            free = chord.notes.held_until <= now
            if chord.left is None or not chord.notes.last:
                return False
            if chord.notes.owner != token and not free:
                return False
            chord.give(token, now + claim)
            return True

    def end_chord(self, group_id: str, token: str, remember: float) -> bool:
        now = time.time()
        with self._chord(group_id) as chord:
            notes = chord.notes
            if chord.left is None or notes.owner != token or notes.held_until <= now:
                return False
            chord.end(now + remember)
            return True

    def fail_chord(self, group_id: str) -> None:
        with self._chord(group_id) as chord:
            chord.fail()

    # --- steps of workflows: rows of ours in the same table -------------------------------------

    def store_steps(self, steps: Mapping[str, bytes], lifetime: float | None) -> None:
        minute = _minute_in(lifetime) if lifetime else 0
        with (
            self._database("ChordCounter", write=True) as (table, alias),
            transaction.atomic(using=alias),
        ):
            for id, step in steps.items():
                text = base64.b64encode(step).decode()
                table.update_or_create(
                    group_id=_STEP + _name(id), defaults={"sub_tasks": text, "count": minute}
                )

    def load_steps(self, ids: Sequence[str]) -> dict[str, bytes]:
        names = {_STEP + _name(id): id for id in ids}
        steps: dict[str, bytes] = {}
        with self._database("ChordCounter", write=False) as (table, _):
            live = table.filter(Q(count=0) | Q(count__gt=int(time.time() / 60)))
            for some in _portions(list(names)):
                found = live.filter(group_id__in=some).values_list("group_id", "sub_tasks")
                steps.update((names[name], base64.b64decode(text)) for name, text in found)
        return steps

    def forget_steps(self, ids: Sequence[str], remember: float) -> None:
        minute = _minute_in(remember)
        with self._database("ChordCounter", write=True) as (table, _):
            for some in _portions([_STEP + _name(id) for id in ids]):
                later = table.filter(Q(count=0) | Q(count__gt=minute), group_id__in=some)
                later.update(count=minute)

    def sweep_chords(self) -> int:
        """Drop what we noted of chords that have outlived their time, and their rows; return how
        many chords that were."""
        with self._database("ChordCounter", write=True) as (table, _):
            old = table.filter(count__gt=0, count__lte=int(time.time() / 60))
            noted = old.filter(group_id__startswith=_NOTES)
            texts = list(noted.values_list("sub_tasks", flat=True))
            names = [msgspec.json.decode(text, type=_Notes).group for text in texts if text]
            for some in _portions(names):
                table.filter(group_id__in=some).delete()
            noted.delete()
            old.filter(group_id__startswith=_PART).delete()
            old.filter(group_id__startswith=_STEP).delete()
            return len(names)


def _minute_in(seconds: float) -> int:
    """Return the minute of unix time that is over in `seconds`."""
    return int((time.time() + seconds) / 60) + 1


def _portions(names: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(names), _ROWS_PER_QUERY):
        yield names[start : start + _ROWS_PER_QUERY]


def _name(group_id: str) -> str:
    """Return what stands for a group in the names of our rows, which are not endless."""
    return group_id if len(group_id) <= _LONGEST else sha256(group_id.encode()).hexdigest()


def _leaves(result: Any) -> int:
    """Return how many tasks a result tuple ends in (protocol.md 6.7)."""
    try:
        members = result[1]
        return 1 if members is None else sum(map(_leaves, members))
    except (TypeError, IndexError, KeyError) as exc:
        raise DecodeError(f"no result of a header: {result!r:.80}") from exc
