"""The children of a prefork pool: as many as wanted, none too many, and no spinning.

Forks what is missing, asks what is too many to leave, reaps what has died, and backs off when
children die before they are of use.  What a death means for a request is the pool's to judge.
"""

from __future__ import annotations

import select
import signal
import time
from collections.abc import Callable
from typing import NoReturn

from ..signals import worker_before_create_process
from .backoff import Backoff
from .handle import Death, Handle
from .scoreboard import BOOTING, FREE, LEAVING, NOTHING, SERVING, SINCE, Scoreboard, Slot

#: Seconds a child may take for its last words; then it is killed, and replaced.
_LEAVE_WITHIN = 10.0
#: Seconds of booting after which `trouble` mentions it.
_BOOT_WITHIN = 10.0


class Children:
    """The handles, by index; `start` is what a new child runs, `poll` hears of deaths.

    `expect` is called, with index and slot too, before a child is forked.
    """

    def __init__(
        self,
        start: Callable[[int, Slot], NoReturn],
        poll: select.epoll,
        expect: Callable[[int, Slot], None],
    ) -> None:
        self._start = start
        self._poll = poll
        self._expect = expect
        self._scoreboard = Scoreboard()
        self._handles: dict[int, Handle] = {}
        self.backoff = Backoff()
        #: How many were ever forked, and how many of them died unasked.
        self.started = self.lost = 0

    def __len__(self) -> int:
        return len(self._handles)

    def in_order(self) -> list[Handle]:
        """Return the handles in order of their index."""
        return [self._handles[index] for index in sorted(self._handles)]

    def all(self) -> list[Handle]:
        """Return the handles in no order; cheaper."""
        return list(self._handles.values())

    def by_index(self, index: int) -> Handle | None:
        """Return the handle of the child with that index."""
        return self._handles.get(index)

    def by_pid(self, pid: int) -> Handle | None:
        """Return the handle of that process."""
        return next((handle for handle in self.all() if handle.pid == pid), None)

    def blind(self) -> bool:
        """Return whether a child could die without the poll hearing of it."""
        return any(handle.pidfd is None for handle in self._handles.values())

    def adjust(self, size: int, now: float) -> None:
        """Fork what is missing of `size`, ask what is too many to leave."""
        staying = [handle for handle in self.all() if not handle.leaving]
        surplus = len(staying) - size
        if surplus > 0:
            # Those that run something go last; of the others, the youngest index first.
            staying.sort(key=lambda handle: (handle.idle(), handle.index), reverse=True)
            for handle in staying[:surplus]:
                handle.ask_to_leave()
        booting = sum(handle.slot.state == BOOTING for handle in staying)
        for _ in range(self.backoff.room(-surplus, booting, now)):
            if not self._fork(now):
                return

    def remind(self, now: float) -> None:
        """Ask again those that were busy when they were asked; kill those that do not end."""
        for handle in self._handles.values():
            slot = handle.slot
            if handle.leaving and handle.idle():
                handle.ask_to_leave()
            if slot.state == LEAVING and now - slot.words[SINCE] / 1e9 > _LEAVE_WITHIN:
                handle.send(signal.SIGKILL)

    def reap(self) -> list[tuple[Handle, Death]]:
        """Return the dead and how they died; `bury` each when it is judged."""
        dead = []
        for handle in self._handles.values():
            death = handle.reap()
            if death is not None:
                dead.append((handle, death))
        return dead

    def kill(self) -> list[tuple[Handle, Death]]:
        """Kill them all; return them as `reap` does."""
        for handle in self._handles.values():
            handle.send(signal.SIGKILL)
        return [(handle, handle.wait()) for handle in self._handles.values()]

    def bury(self, handle: Handle, death: Death) -> None:
        """Forget a dead child; one that never was of use makes the pool back off."""
        slot = handle.slot
        self.lost += not handle.leaving and death.code != 0
        if not handle.leaving:
            if slot.state == BOOTING:
                self._fail(handle, f"could not boot: {handle.complaint or death}")
            elif slot.state == SERVING and slot.request == NOTHING and not slot.done:
                self._fail(handle, f"died before its first task: {handle.complaint or death}")
        if handle.pidfd is not None:
            self._poll.unregister(handle.pidfd)
        handle.close()
        slot.clear(FREE)
        del self._handles[handle.index]

    def trouble(self, now: float) -> str | None:
        """Return why children cannot start, or None."""
        if self.backoff.reason is not None:
            wait = max(0.0, self.backoff.until - now)
            return f"{self.backoff.reason}; next attempt in {wait:.1f} s"
        for handle in self.in_order():
            age = now - handle.forked_at
            if handle.slot.state == BOOTING and age > _BOOT_WITHIN:
                return f"child {handle.index} (pid {handle.pid}) has been booting for {age:.0f} s"
        return None

    def _fork(self, now: float) -> bool:
        index = next(i for i in range(len(self._handles) + 1) if i not in self._handles)
        handle = Handle(index, self._scoreboard.slot(index))
        worker_before_create_process.send(sender=self)
        try:
            self._expect(index, handle.slot)
            handle.fork(self._start)
        except OSError as exc:
            handle.close()
            self.backoff.fail(f"child {index} could not be forked: {exc}", now)
            return False
        if handle.pidfd is not None:
            self._poll.register(handle.pidfd, select.EPOLLIN)
        self._handles[index] = handle
        self.started += 1
        return True

    def _fail(self, handle: Handle, what: str) -> None:
        reason = f"child {handle.index} (pid {handle.pid}) {what}"
        self.backoff.fail(reason, time.monotonic())
