"""Which of several beats sends: one leads, the others stand by.

The leader's sends go out in one step with the note of what was sent, and only while it leads
(`brokers.leading`): one that was stopped and wakes up late sends nothing.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from .. import process
from ..clock import maybe_seconds, seconds
from ..errors import BrokerConnectionError, BrokerError, ImproperlyConfigured
from ..messaging.leading import Candidacy, Claim, NotLeading
from ..messaging.nodes import new_owner
from ..version import __version__

log = logging.getLogger("taskctl.beat")
T = TypeVar("T")

#: Name of the group of an app without a name.
NAMELESS = "default"
#: Longest name of a group, in bytes: it becomes part of names at the broker, of 255 at most.
MAX_NAME = 200
#: Seconds before the first new try to reach a broker that is away; doubles up to the last.
_FIRST_PAUSE, _LAST_PAUSE = 1.0, 30.0
#: Looks between two reminders that another leads with other entries.
_REMIND_AFTER = 720


def group_of(app: Any) -> str:
    """Return the name under which this app's beats elect.

    Raises ImproperlyConfigured for one that is too long.
    """
    name = str(app.conf.beat_group or app.main or NAMELESS)
    name = NAMELESS if name == "__main__" else name
    if len(name.encode()) > MAX_NAME:
        raise ImproperlyConfigured(f"beat_group must be at most {MAX_NAME} bytes, got {name!r}")
    return f"beat.{name}"


class Election:
    """One beat's part in the election of its group.

    Call `look` in every turn: it claims, and keeps up, the leadership.  When `begins` is true, a
    term has begun: what was sent before must be taken up from `notes`, and `begun` be called.
    """

    def __init__(self, app: Any, node: str | None = None) -> None:
        self.group = group_of(app)
        self.lease: float = seconds(app.conf.beat_lease)
        self.node = node or f"celerybeat@{socket.gethostname()}"
        self._candidacy = candidacy_of(app, self.group, new_owner(self.node))
        self.leading = False
        #: Whether a term has begun that nobody has acted upon.
        self.begins = False
        #: Whose term it is, as far as is known; None before the first look.
        self.seen: Claim | None = None
        self._fence = 0
        self._next_look = 0.0
        self._pause = 0.0
        self._looks = 0

    @functools.cached_property
    def record(self) -> dict[str, Any]:
        """What others are told of the leader."""
        return {
            "node": self.node,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "birth": process.birth(os.getpid()),
            "space": _space(),
            "since": time.time(),
            "version": __version__,
        }

    # --- claiming ---------------------------------------------------------------------------

    def look(self) -> bool:
        """Claim or renew the lease, if it is time; return whether we lead."""
        now = time.monotonic()
        if now < self._next_look:
            return self.leading
        try:
            claim = self._claim()
        except BrokerError as exc:
            self._lost(exc)
            return False
        if self._pause:
            log.warning("the broker is back")
            self._pause = 0.0
        self._take_note(claim)
        wait = self.lease / 3
        if not claim.held and claim.remaining > 0:
            wait = min(wait, claim.remaining + 0.01)
        self._next_look = time.monotonic() + wait
        return self.leading

    def _claim(self) -> Claim:
        claim = self._candidacy.claim(self.record, self.lease)
        if not claim.held and is_over(claim.record):
            log.warning("%s has died: taking over", who(claim.record))
            claim = self._candidacy.claim(self.record, self.lease, over=claim.fence)
        return claim

    def _take_note(self, claim: Claim) -> None:
        if claim.held:
            if not self.leading or claim.fence != self._fence:
                self.begins = True
            self.leading, self._fence = True, claim.fence
        elif self.leading:
            self.leading = self.begins = False
            log.warning("another beat leads %s now: standing by", self.group)
        self.seen = claim

    def stands_by(self) -> bool:
        """Return whether another beat leads, as far as is known."""
        return self.seen is not None and not self.seen.held

    def next_look(self) -> float:
        """Return after how many seconds `look` has something to do."""
        return max(0.0, self._next_look - time.monotonic())

    def begun(self, notes: Mapping[str, Any]) -> None:
        """Say that the term was begun, and write its first notes.

        Raises NotLeading if it is over already, BrokerConnectionError.
        """
        with self._watched():
            self._candidacy.note(notes)
        self.begins = False
        log.info("leading %s, term %d", self.group, self._fence)

    def notes(self) -> dict[str, Any]:
        """Return what the leaders have written down so far."""
        with self._watched():
            return self._candidacy.notes()

    def leader(self) -> dict[str, Any]:
        """Return what the present leader says of itself; empty if it is not known."""
        try:
            found = self._candidacy.look()
        except BrokerError:
            return {}
        return {} if found is None else found.record

    def due_for_reminder(self) -> bool:
        """Return whether to tell (again) of whom we stand by."""
        self._looks += 1
        return self._looks % _REMIND_AFTER == 1

    # --- sending ----------------------------------------------------------------------------

    def deliver(self, send: Callable[[], T], notes: Mapping[str, Any]) -> T:
        """Publish what `send` sends, and write `notes`, in one step; see `Candidacy.deliver`."""
        with self._watched():
            return self._candidacy.deliver(send, notes)

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Note what becomes of the leadership when a send fails."""
        try:
            yield
        except BrokerConnectionError as exc:
            self._lost(exc, quietly=True)
            raise
        except NotLeading:
            self.leading = self.begins = False
            self._next_look = 0.0
            log.warning("another beat has taken over %s: standing by", self.group)
            raise

    # --- the line ---------------------------------------------------------------------------

    def _lost(self, exc: BrokerError, *, quietly: bool = False) -> None:
        """Begin a new term once the broker is back: what was sent last may or may not be noted."""
        self.leading = self.begins = False
        self._pause = min(_LAST_PAUSE, self._pause * 2 or _FIRST_PAUSE)
        self._next_look = time.monotonic() + self._pause
        self._candidacy.drop()
        if not quietly:
            log.error("%s; trying again in %g s, what is due then is sent once", exc, self._pause)

    def close(self, release: bool = True) -> None:
        """Let another beat lead at once, if we did; without `release`, once the lease has ended."""
        if self.leading and release:
            self._candidacy.release()
        self.leading = self.begins = False
        self._candidacy.drop()


def candidacy_of(app: Any, group: str, candidate: str) -> Candidacy:
    """Return a candidacy over a connection of its own, on which no answer is waited for longer
    than a call may take."""
    limit = maybe_seconds(app.conf.broker_publish_timeout)
    redis = str(app.broker_url()).startswith(("redis", "valkey"))
    patience = {"socket_timeout": limit} if limit and redis else {}
    return Candidacy(app.connection(**patience), group, candidate)


def _space() -> str:
    """Return what tells whose pids these are: those of another container are not ours."""
    try:
        return f"{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return socket.gethostname()


def is_over(record: Mapping[str, Any]) -> bool:
    """Return whether the leader of this record was a process here, and has ended for certain."""
    pid, birth = record.get("pid"), record.get("birth")
    if not pid or not birth or record.get("space") != _space():
        return False
    here = process.birth(os.getpid()) or ""
    if here.partition("@")[2] != str(birth).partition("@")[2]:
        return False  # another machine, or another boot of this one
    return not process.is_alive(int(pid), str(birth))


def who(record: Mapping[str, Any]) -> str:
    """Return a leader in words."""
    if not record:
        return "another beat"
    return f"beat on {record.get('host')}, pid {record.get('pid')},"
