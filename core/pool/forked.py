"""What pools of forked children share: the parent's ear, and its care for the children.

One thread forks, listens and judges.  Outcomes come up one socket that all children share, large
ones another; every child has a slot on the scoreboard.  A child that dies is judged after its last
outcomes were read.

The parent should have no other thread when it forks.  Needs os.fork, SOCK_SEQPACKET and epoll:
Linux.
"""

from __future__ import annotations

import gc
import os
import select
import time
from abc import abstractmethod
from collections.abc import Callable
from typing import NoReturn

from ..wire.outcome import LOST, Outcome
from . import frames
from .base import Pool, PoolError, Serve, Started, Work
from .children import Children
from .handle import Death, Handle
from .scoreboard import BOOTING, SERVING, Slot

#: Seconds between two looks at children and limits while outcomes stream in.
LOOK_EVERY = 0.02
#: Seconds between two looks while something can happen of which the poll does not tell: a death
#: without a pidfd, a descriptor that becomes free.
LOOK_BLINDLY = 0.1
#: Seconds between two looks for the stacks that children write.
_DUMP_LOOK = 0.001
#: Records read in one `collect`, so that a flood does not keep the parent from its turn.
_AT_ONCE = 1000

Told = list[Outcome | Started]


class ForkedPool(Pool):
    """Children that are processes; a sibling says how work comes to them."""

    can_kill = True

    def __init__(
        self,
        size: int,
        boot: Callable[[int], Serve],
        *,
        leave: Callable[[], None] | None = None,
        max_tasks: int | None = None,
        max_memory_kib: int | None = None,
    ) -> None:
        super().__init__(
            size, boot, leave=leave, max_tasks=max_tasks, max_memory_kib=max_memory_kib
        )
        #: Submitted, and neither answered nor recalled.
        self._pending: dict[int, Work] = {}
        #: What happened while nobody collected.
        self._told: Told = []
        self._answered = 0
        self._look_at = 0.0
        self._closing = False
        self._closed = False
        self._buffer = bytearray(frames.BUFFER_BYTES)
        self._record = memoryview(self._buffer)

    def open(self) -> None:
        try:
            self._ear, self._outcomes = frames.socket_pair()
            self._bulk_ear, self._bulk = frames.socket_pair()
            self._poll = select.epoll()
            self._open_feed()
        except (AttributeError, OSError) as exc:
            raise PoolError(
                f"the {self.name} pool cannot run on this system ({exc}); "
                "choose the threads or the solo pool"
            ) from exc
        self._pid = os.getpid()
        # What stands now stays for good: no collection touches it, its pages remain shared.
        gc.collect()
        gc.freeze()
        self._poll.register(self._ear.fileno(), select.EPOLLIN)
        self._children = Children(self._start, self._poll, self._expect)
        self.resize(self.size)
        if self.size and not len(self._children):
            reason = self._children.backoff.reason
            self._release()
            raise PoolError(f"the {self.name} pool cannot start: {reason}")

    def collect(self) -> list[Outcome | Started]:
        told, self._told = self._told, []
        if self._closed:
            return told
        self._listen(told, _AT_ONCE)
        now = time.monotonic()
        # Nothing to read means that something else woke the parent: a death, most likely.
        if not told or now >= self._look_at:
            self._look_at = now + LOOK_EVERY
            self._look(now, told)
        self._flow()
        return told

    def next_look(self) -> float:
        if self._closed:
            return 1.0
        now = time.monotonic()
        within = LOOK_BLINDLY if self._children.blind() or self._scarce() else 1.0
        if self._children.backoff.until > now:
            within = min(within, self._children.backoff.until - now)
        return within

    def filenos(self) -> list[int]:
        return [self._poll.fileno()]

    def restart(self) -> None:
        for handle in self._children.all():
            handle.ask_to_leave()
        self.resize(self.size)

    def pids(self) -> list[int]:
        return [handle.pid for handle in self._children.in_order()]

    def stacks(self, within: float) -> dict[int, str]:
        asked = [] if self._closed else self._children.in_order()
        for handle in asked:
            handle.ask_for_stacks()
        waiting, deadline = list(asked), time.monotonic() + within
        while waiting and time.monotonic() < deadline:
            time.sleep(_DUMP_LOOK)
            waiting = [handle for handle in waiting if not handle.stacks_written()]
        return {handle.pid: handle.dump.text() for handle in asked}

    def turnover(self) -> tuple[int, int]:
        return self._children.started, self._children.lost

    def ready(self) -> bool:
        return any(handle.slot.state == SERVING for handle in self._children.all())

    def trouble(self) -> str | None:
        trouble = self._children.trouble(time.monotonic())
        if trouble is None and (scarce := self._scarce()) is not None:
            return f"a large message cannot go to a child: {scarce}; will try again"
        return trouble

    def close(self, deadline: float) -> None:
        if self._closed:
            return
        self._closing = True
        self._stop_feeding()
        for handle in self._children.all():
            if handle.slot.state == BOOTING:
                handle.ask_to_leave()
        self._await_ends(deadline)
        self._judge(self._children.kill(), self._told)
        self._release()

    def _await_ends(self, deadline: float) -> None:
        """Collect until no child is left, or it is `deadline`."""
        while len(self._children) and (left := deadline - time.monotonic()) > 0:
            self._told = self.collect()
            if len(self._children):
                self._poll.poll(min(left, self.next_look()))

    # What a sibling says

    @abstractmethod
    def _open_feed(self) -> None:
        """Make what work goes through to the children; raises OSError."""

    def _expect(self, index: int, slot: Slot) -> None:
        """A child of that index is about to be forked."""

    @abstractmethod
    def _start(self, index: int, slot: Slot) -> NoReturn:
        """Be that child; `_let_go` first."""

    @abstractmethod
    def _look(self, now: float, told: Told) -> None:
        """Look after the children: limits, deaths, numbers."""

    @abstractmethod
    def _judge(self, dead: list[tuple[Handle, Death]], told: Told) -> None:
        """Say what became of what the dead were running, and bury them."""

    @abstractmethod
    def _flow(self) -> None:
        """Move what waits towards the children."""

    @abstractmethod
    def _scarce(self) -> OSError | None:
        """Return why a large record cannot go, when that is so."""

    @abstractmethod
    def _stop_feeding(self) -> None:
        """Tell the children that nothing more comes."""

    @abstractmethod
    def _forget(self, request: int) -> Work:
        """Strike a request off: it has its outcome, or is recalled."""

    def _let_go(self) -> None:
        """In the child: close the parent's ends."""
        self._ear.close()
        self._bulk_ear.close()
        self._poll.close()
        for handle in self._children.all():
            handle.close()

    # Traffic

    def _listen(self, told: Told, limit: int) -> bool:
        """Read at most `limit` records of what the children said; return whether that is all."""
        hear, record = self._ear.recv_into, self._record
        for _ in range(limit):
            try:
                size = hear(self._buffer)
            except BlockingIOError:
                return True
            tag = record[0]
            if tag == frames.OUTCOME:
                self._answer(frames.unpack_outcome(record[1:size]), told)
            else:
                self._note(tag, record[1:size], told)
        return False

    def _note(self, tag: int, body: memoryview, told: Told) -> None:
        if tag == frames.STARTED:
            told.append(frames.unpack_started(body))
        elif tag == frames.READY:
            self._children.backoff.succeed()
        elif tag == frames.IN_FILE:
            self._listen_to_bulk(told)
        elif tag == frames.TROUBLE:
            pid, text = frames.unpack_trouble(body)
            handle = self._children.by_pid(pid)
            if handle is not None:
                handle.complaint = text

    def _listen_to_bulk(self, told: Told) -> None:
        while True:
            try:
                _, fd, _ = frames.receive(self._bulk_ear, self._record)
            except BlockingIOError:
                return
            if fd is None:
                request, size = frames.unpack_head(self._record)
                text = f"no file descriptor left to receive its outcome of {size} bytes"
                self._answer(Outcome(request=request, kind=LOST, text=text), told)
            else:
                self._answer(frames.unpack_outcome(frames.read_file(fd)), told)

    def _listen_to_all(self, told: Told) -> None:
        while not self._listen(told, _AT_ONCE):
            continue
        # A child killed between the file and its note: the outcome is whole all the same.
        self._listen_to_bulk(told)

    def _answer(self, outcome: Outcome, told: Told) -> None:
        if outcome.request in self._pending:
            self._forget(outcome.request)
            self._answered += 1
            told.append(outcome)

    def _release(self) -> None:
        self._closed = True
        for end in (self._ear, self._bulk_ear, self._outcomes, self._bulk):
            end.close()
        self._poll.close()
