"""Messages whose acks wait until the parts of chords they carry are counted.

A child counts the part of the task it ran.  Here are those that no child could: of tasks that
were lost, timed out or revoked, of children that could not reach the backend, and of chords that
somebody else was about to end when a part came again.  Nothing here waits: what is not due is
looked at again in a later turn.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from ..backends.base import Backend
from ..errors import BackendError
from ..tasks.execute import followers_of
from ..tasks.followers import Aftermath
from ..tasks.parts import Parts, Returned
from ..wire.chord_part import Claim
from ..wire.message import Publication
from ..wire.outcome import StoredMeta

log = logging.getLogger("taskctl.worker")

#: Seconds that a claim of somebody else is given beyond its own time.
_GRACE = 0.05

#: Ends a message, with the messages that follow from its parts.
Finish = Callable[[list[Publication]], None]


class _Waiting:
    """One message, and its parts that are not counted yet; `find` tells what they are."""

    def __init__(
        self, parts: Sequence[Returned], finish: Finish, find: Callable[[], Aftermath] | None = None
    ) -> None:
        self.parts = list(parts)
        self.finish = finish
        self.find = find
        self.publications: list[Publication] = []
        self.due = 0.0


class Joins:
    """Counts what is left to the worker, and ends chords after what follows them is published."""

    def __init__(self, app: Any, backend: Backend) -> None:
        self.app = app
        self.backend = backend
        self._waiting: list[_Waiting] = []
        self.claims: list[Claim] = []
        self._parts: Parts | None = None

    def wait(self, parts: Sequence[Returned], finish: Finish) -> None:
        """Call `finish` as soon as all parts are counted, at once if there are none."""
        if parts:
            self._waiting.append(_Waiting(parts, finish))
        else:
            finish([])

    def follow(self, find: Callable[[], Aftermath], finish: Finish) -> list[StoredMeta]:
        """Find what follows a task; return the results to store now.

        `finish` is called as soon as all else is done, maybe now.  What follows may be kept in a
        backend that is away: then all of it is done once that is back.
        """
        try:
            after = find()
        except BackendError:
            self._waiting.append(_Waiting((), finish, find))
            return []
        self.wait(after.parts, lambda more: finish([*after.publications, *more]))
        return after.results

    def pending(self) -> bool:
        """Return whether there is anything to do, now or later."""
        return bool(self._waiting or self.claims)

    def next_due(self) -> float | None:
        """Return the time.monotonic at which `count` has something to do; None is never."""
        return min((one.due for one in self._waiting), default=None)

    def count(self) -> None:
        """Count what is due; the results of those parts must be stored already.

        Raises BackendError; what was counted before it is done all the same.
        """
        if self._parts is None:
            # The loop waits for nobody: a result that is missing now is missing.
            self._parts = followers_of(self.app, patience=0.0).parts
        assert self._parts is not None
        now = time.monotonic()
        for one in [one for one in self._waiting if one.due <= now]:
            if one.find is not None:
                after = one.find()
                self.backend.store(after.results)
                one.parts, one.publications = list(after.parts), list(after.publications)
                one.find = None
            effects = self._parts.count(one.parts)
            if effects.results:
                self.backend.store(effects.results)
            one.publications += effects.publications
            self.claims += effects.claims
            one.parts = [late.returned for late in effects.late]
            if effects.error is not None:
                raise effects.error
            if one.parts:
                one.due = now + _GRACE + max(late.wait for late in effects.late)
            else:
                self._waiting.remove(one)
                one.finish(one.publications)

    def end(self) -> None:
        """End the chords whose followers are published; raises BackendError."""
        if self._parts is None and self.claims:
            self._parts = followers_of(self.app, patience=0.0).parts
        while self.claims:
            assert self._parts is not None
            self._parts.end(self.claims[0])
            del self.claims[0]
