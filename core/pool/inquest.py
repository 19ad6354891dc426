"""The inquest: what became of work that a child took and had not claimed when it was killed.

A record that has left the socket is claimed in its reader's slot some instructions later.  A
child killed in between leaves a request that is nowhere: not waiting, not claimed, not answered.
But so is, for the same instant, a record in the hands of a child that lives.  So the parent takes
back what is still in the socket, notes who lives and has claimed nothing, and waits until each
of them has claimed something or sleeps in its wait for work.  What nobody has claimed or answered
by then was never begun, and may go to another child: nothing is lost, nothing runs twice.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Container

from .handle import Handle

#: Where a sleeping child cannot be told from a busy one (no /proc), how long it takes at most
#: from a record's arrival to its claim, in seconds; it is microseconds on an idle machine.
_GRACE = 1.0


class Inquest:
    """The requests that are missing, and the children that may still claim one."""

    def __init__(self) -> None:
        self.missing: set[int] = set()
        self._witnesses: list[Handle] = []
        self._since = 0.0

    def open(self, missing: set[int], witnesses: list[Handle]) -> None:
        """Begin, or take in what a further death has left open."""
        if not self.missing:
            self._witnesses, self._since = [], time.monotonic()
        self.missing |= missing
        self._witnesses = [*{*self._witnesses, *witnesses}]

    def dismiss(self, handle: Handle) -> None:
        """Strike a child that has died from the witnesses."""
        if handle in self._witnesses:
            self._witnesses.remove(handle)

    def account_for(self, claimed: set[int], pending: Container[int]) -> None:
        """Strike off what a living child has claimed, and what is no longer pending."""
        self.missing = {r for r in self.missing - claimed if r in pending}

    def settled(self) -> bool:
        """Return whether every witness has spoken."""
        if sys.platform != "linux":
            return self.age() > _GRACE
        self._witnesses = [w for w in self._witnesses if not w.empty_handed()]
        return not self._witnesses

    def age(self) -> float:
        """Return for how many seconds it has been open."""
        return time.monotonic() - self._since

    def close(self) -> set[int]:
        """End it; return what is missing still."""
        missing, self.missing, self._witnesses = self.missing, set(), []
        return missing
