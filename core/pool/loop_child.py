"""The child of the asyncio pool: a forked process that runs many requests at once on one loop.

What it promises the parent: it notes each request in its cell before it begins it, sends the
outcome, and only then clears the cell.  So whenever it is killed, its cells and what it has sent
say exactly what became of each request; a record that it has not read is with nobody else.

Coroutines run on the loop; everything else runs in threads, as many as there are such tasks.
Signals.  TERM: take what was sent, and leave when all of it has ended.  USR1: there are orders in
the cells.  INT, QUIT and HUP, which a terminal sends to the whole group: the parent decides.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

from .. import steering
from ..errors import SoftTimeLimitExceeded
from ..wire.outcome import LOST, Outcome
from . import frames
from .base import Serve, Started, Work
from .cells import MAX_CELLS, SOFTEN, Cells
from .child import NO_DESCRIPTORS, Channels, Child, Terms
from .scoreboard import DONE, LEAVE, NOTHING, REQUEST, Slot


class LoopChild(Child):
    """One forked process with one event loop, seen from inside."""

    def __init__(
        self, index: int, slot: Slot, channels: Channels, terms: Terms, cells: Cells
    ) -> None:
        super().__init__(index, slot, channels, terms)
        self.cells = cells
        #: What runs, by request: its cell, and what reaches into it.
        self._running: dict[int, tuple[int, steering.Steer]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._code = 0
        #: Whether the parent has said that nothing more comes.
        self._fed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news: asyncio.Event

    # Signals

    def _on_end(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGTERM:
            self.leaving = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._news.set)

    def _on_soft_limit(self, signum: int, frame: FrameType | None) -> None:
        struck: SoftTimeLimitExceeded | None = None
        for cell, steer in list(self._running.values()):
            order = self.cells.take_order(cell)
            if order == SOFTEN:
                try:
                    steer.soften()
                except SoftTimeLimitExceeded as exc:  # the one whose code is interrupted here
                    struck = exc
            elif order:
                steer.stop()
        if struck is not None:
            raise struck

    # Serving

    def _serve_all(self, serve: Serve) -> int:
        if self.leaving:
            return 0
        threads = ThreadPoolExecutor(MAX_CELLS, thread_name_prefix="taskctl")
        try:
            with asyncio.Runner() as runner:
                return runner.run(self._serve_until_told(serve, threads))
        finally:
            self._loop = None
            threads.shutdown(wait=False)

    async def _serve_until_told(self, serve: Serve, threads: ThreadPoolExecutor) -> int:
        self._news = asyncio.Event()
        self._loop = loop = asyncio.get_running_loop()
        # Each task's context, and those of its threads, are copies of this one.
        steering.home.set(loop)
        loop.set_default_executor(threads)
        loop.add_reader(self.channels.work.fileno(), self._take, serve)
        while True:
            self._news.clear()
            if self.leaving or self._fed or self.words[LEAVE]:
                self._take(serve)
                if not self._running:
                    return self._code
            await self._news.wait()

    def _take(self, serve: Serve) -> None:
        """Begin everything that has been sent."""
        work_end = self.channels.work
        while not self._fed:
            try:
                size, fd, cut_off = frames.receive(work_end, self._buffer, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            if size == 0:
                self._fed = True
                asyncio.get_running_loop().remove_reader(work_end.fileno())
                self._news.set()
            elif cut_off:
                self._complain("no file descriptors left for a large message")
                self._code, self.leaving = NO_DESCRIPTORS, True
                self._news.set()
            else:
                body = self._body[: size - frames.HEAD_BYTES]
                work = frames.unpack_work(body if fd is None else frames.read_file(fd))
                self._begin(serve, work)

    def _begin(self, serve: Serve, work: Work) -> None:
        self.cells.begin(work.cell, work.request, time.monotonic_ns())
        steer = steering.Steer()
        self._running[work.request] = work.cell, steer
        self.words[REQUEST] = work.request
        if work.announce:
            started = Started(request=work.request, pid=os.getpid(), at=time.time())
            self._note(frames.STARTED, started)
        task = asyncio.get_running_loop().create_task(self._see_through(serve, work, steer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _see_through(self, serve: Serve, work: Work, steer: steering.Steer) -> None:
        steering.current.set(steer)
        together = getattr(serve, "together", None)
        try:
            if together is not None:
                outcome = await together(work, steer)
            else:
                outcome = await asyncio.to_thread(serve, work)
        except BaseException as exc:
            text = f"broke down: {type(exc).__name__}: {exc}"
            outcome = Outcome(request=work.request, kind=LOST, text=text, pid=os.getpid())
        self._end(work, outcome)

    def _end(self, work: Work, outcome: Outcome) -> None:
        self._flee_if_stray()
        self._weigh(outcome)
        self._send(outcome)
        self.words[DONE] += 1
        self.cells.end(work.cell)
        del self._running[work.request]
        self.words[REQUEST] = next(iter(self._running), NOTHING)
        if not self._running:
            self._news.set()
