"""The state file: revoked ids and the logical clock, kept over a restart (`--statedb`).

It is written aside and renamed, at most a second after a change and at the end, so that a node
that is killed remembers too.  A file that cannot be read is set aside, never written over: it may
be Celery's, whose format is another.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time

import msgspec

from ..clock import LamportClock
from ..errors import StateFileError
from ..places import make_folder
from .revoked import LimitedSet

log = logging.getLogger("taskctl.worker")

#: Seconds between a change and the writing; and the longest share of the worker's time that
#: writing may take: 50 000 ids are 2.5 MB and some 30 ms.
_SOON, _SHARE = 1.0, 0.02
_FORMAT = 1


class _State(msgspec.Struct):
    """What the file holds; `at` is the unix time of writing, ages are seconds before that."""

    format: int
    at: float
    clock: int
    revoked: list[tuple[str, float]]


_decode = msgspec.json.Decoder(_State).decode
_encode = msgspec.json.Encoder().encode


class StateFile:
    """The state file of one worker at `path`."""

    def __init__(self, path: str, revoked: LimitedSet, clock: LamportClock) -> None:
        self.path = path
        self.revoked = revoked
        self.clock = clock
        self._loaded = False
        self._written = 0
        self._next = 0.0
        self._failing = False

    def load(self) -> None:
        """Take in what was remembered, and make sure that the file can be written.

        Raises StateFileError if it cannot.
        """
        state = self._read()
        if state is not None:
            gone = max(0.0, time.time() - state.at)
            self.revoked.restore((task_id, age + gone) for task_id, age in state.revoked)
            self.clock.adjust(state.clock)
            log.info("%d revoked tasks remembered in %s", len(self.revoked), self.path)
        self._write()
        self._loaded = True

    def look(self, now: float) -> None:
        """Write the file if something has changed, not too often; `now` is time.monotonic."""
        if self.revoked.changes == self._written or now < self._next:
            return
        self.save()
        self._next = now + max(_SOON, (time.monotonic() - now) / _SHARE)

    def save(self) -> None:
        """Write the file now, unless it could not be loaded; trouble is logged, once."""
        if not self._loaded:
            return
        try:
            self._write()
            self._failing = False
        except StateFileError as exc:
            if not self._failing:
                log.error("%s; revoked tasks would be forgotten in a restart", exc)
            self._failing = True

    def _read(self) -> _State | None:
        try:
            with open(self.path, "rb") as file:
                state = _decode(file.read())
            if state.format != _FORMAT:
                raise msgspec.ValidationError(f"its format is {state.format}, not {_FORMAT}")
            return state
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise StateFileError(f"cannot read state file {self.path}: {_reason(exc)}") from exc
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            self._set_aside(exc)
            return None

    def _set_aside(self, why: Exception) -> None:
        aside = f"{self.path}.unreadable"
        try:
            os.replace(self.path, aside)
        except OSError as exc:
            raise StateFileError(f"cannot move {self.path} away: {_reason(exc)}") from exc
        log.error(
            "%s is damaged, or a file of Celery's (%s): it is %s now, and no task is remembered "
            "as revoked; revoke again what must not run",
            self.path, why, aside,
        )  # fmt: skip

    def _write(self) -> None:
        changes = self.revoked.changes
        state = _State(_FORMAT, time.time(), self.clock.value, self.revoked.ages())
        aside = None
        try:
            folder = os.path.dirname(self.path)
            make_folder(folder)
            handle, aside = tempfile.mkstemp(prefix=".statedb-", dir=folder)
            with os.fdopen(handle, "wb") as file:
                file.write(_encode(state))
            os.replace(aside, self.path)
        except OSError as exc:
            if aside is not None and os.path.exists(aside):
                os.unlink(aside)
            raise StateFileError(
                f"cannot write state file {self.path}: {_reason(exc)}; "
                "choose another place with --statedb"
            ) from exc
        self._written = changes


def _reason(exc: OSError) -> str:
    return (exc.strerror or str(exc)).lower()
