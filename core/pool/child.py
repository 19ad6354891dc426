"""The child: a forked process that takes one piece of work after the other.

What it promises the parent, in this order: it takes a record from the feed, claims it in its
slot, runs it, sends the outcome, and only then clears the slot.  So whenever it is killed, its
slot and what it has sent say exactly what became of each request.

Signals.  TERM: leave, at once when idle, else after this task.  INT, QUIT and HUP, which a
terminal sends to the whole group: the parent decides, the child goes on.  USR1: the soft time
limit.  When the parent means the running request (the words KILL and SOFT of the slot name it),
TERM, QUIT and HUP end the child at once, as they would any process.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import resource
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import NamedTuple, NoReturn

from .. import interrupts
from ..errors import SoftTimeLimitExceeded
from ..wire.outcome import FAILED, Outcome
from . import frames
from .base import Serve, Started, Work
from .scoreboard import (
    DONE,
    KILL,
    LEAVE,
    LEAVING,
    MEMORY_KIB,
    NOTHING,
    REQUEST,
    SERVING,
    SINCE,
    SOFT,
    STATE,
    Slot,
)

log = logging.getLogger("taskctl.pool")

#: Exit codes: could not boot (EX_CONFIG of sysexits.h), broke down, and "give my work to
#: another, I have no descriptors left" (EX_TEMPFAIL).
BOOT_FAILED, BROKE_DOWN, NO_DESCRIPTORS = 78, 70, 75

#: Signals that end the child when its parent means the running request.
_ENDS = (signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)

#: In the head of the reader's buffer: the child has begun to go.
_GOING = -2

#: prctl(2): the signal this process gets when the thread that forked it is gone.
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class Channels(NamedTuple):
    """The children's ends: work comes in; outcomes go out, those with a file over `bulk`."""

    work: socket.socket
    outcomes: socket.socket
    bulk: socket.socket


class Terms(NamedTuple):
    """How long a child serves, and what it calls when it goes."""

    leave: Callable[[], None] | None = None
    max_tasks: int | None = None
    max_memory_kib: int | None = None


class _Leave(BaseException):
    """Raised by the handler of TERM in an idle child: out of the wait for work."""


class Child:
    """One forked process, seen from inside."""

    def __init__(self, index: int, slot: Slot, channels: Channels, terms: Terms) -> None:
        self.index = index
        self.words = slot.words
        self.channels = channels
        self.terms = terms
        self.leaving = False
        #: True in a process that a task forked and that came back out of the task.
        self.stray = False
        self._buffer = bytearray(frames.BUFFER_BYTES)
        self._body = memoryview(self._buffer)[frames.HEAD_BYTES :]
        #: First word: the request of the record read last, NOTHING while waiting for one.
        self._head = memoryview(self._buffer)[: frames.HEAD_BYTES].cast("q")
        self._head[0] = NOTHING
        #: Given back for the file of a large outcome when a task has leaked all others.
        self._reserve = os.open(os.devnull, os.O_RDONLY)

    def main(self, boot: Callable[[int], Serve], parent: int) -> NoReturn:
        """Boot, serve, leave; ends the process."""
        code = BROKE_DOWN
        try:
            serve = self._boot(boot, parent)
            code = BOOT_FAILED if serve is None else self._serve_and_leave(serve)
        except _Leave:
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            _flush_output()
            os._exit(code)

    def _boot(self, boot: Callable[[int], Serve], parent: int) -> Serve | None:
        try:
            _die_with_parent(parent)
            self._settle_in()
            serve = boot(self.index)
        except _Leave:
            raise
        except BaseException as exc:
            traceback.print_exc()
            self._complain(f"{type(exc).__name__}: {exc}")
            return None
        # What was imported so far is never garbage: not looking at it keeps its pages shared.
        gc.freeze()
        self.words[STATE] = SERVING
        self._note(frames.READY)
        return serve

    def _settle_in(self) -> None:
        # Python has given `random` a fresh seed in the fork already.
        if sys.stdin is not None and 0 not in (end.fileno() for end in self.channels):
            os.dup2(self._reserve, 0)
        for signum in signal.valid_signals():
            if callable(signal.getsignal(signum)):
                signal.signal(signum, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for signum in _ENDS:
            signal.signal(signum, self._on_end)
        signal.signal(signal.SIGUSR1, self._on_soft_limit)
        os.register_at_fork(
            before=self._before_fork, after_in_parent=_allow_ends, after_in_child=self._mark_stray
        )
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _before_fork(self) -> None:
        # CPython forgets a signal that comes between the fork and its own clean-up after it.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)

    def _mark_stray(self) -> None:
        # A process that a task forked: no child of the pool, it ends as any process does.
        self.stray = True
        for signum in _ENDS:
            signal.signal(signum, signal.SIG_DFL)
        _allow_ends()

    # Signals

    def _on_end(self, signum: int, frame: FrameType | None) -> None:
        words = self.words
        if words[KILL] != NOTHING and words[KILL] == words[REQUEST]:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        elif signum == signal.SIGTERM:
            # A record that is in the buffer already is run first.
            if self._head[0] == NOTHING:
                raise _Leave
            self.leaving = True

    def _on_soft_limit(self, signum: int, frame: FrameType | None) -> None:
        words = self.words
        if words[SOFT] != NOTHING and words[SOFT] == words[REQUEST]:
            words[SOFT] = NOTHING
            interrupts.interrupt(SoftTimeLimitExceeded())

    # Serving

    def _serve_and_leave(self, serve: Serve) -> int:
        try:
            code = self._serve_all(serve)
        except _Leave:
            code = 0
        self._head[0] = _GOING
        if code == 0:
            self.words[SINCE] = time.monotonic_ns()
            self.words[STATE] = LEAVING
            self._say_goodbye()
        return code

    def _say_goodbye(self) -> None:
        if self.terms.leave is None:
            return
        try:
            self.terms.leave()
        except Exception:
            log.exception("child %d (pid %d) leaves with an error", self.index, os.getpid())

    def _serve_all(self, serve: Serve) -> int:
        words, head, work_end = self.words, self._head, self.channels.work
        while True:
            # In this order: a TERM after the first line raises, one before it is seen below.
            head[0] = NOTHING
            if self.leaving or words[LEAVE] or self._worn_out():
                return 0
            # Between the record's arrival and its claim this process must not fall asleep: the
            # parent takes a sleeping child without a claim to be one that waits for work.  Only
            # a collection could run somebody's code there.
            collecting = gc.isenabled()
            gc.disable()
            size, fd, cut_off = frames.receive(work_end, self._buffer)
            if size == 0:
                return 0
            if cut_off:
                self._complain("no file descriptors left for a large message")
                return NO_DESCRIPTORS
            words[SINCE] = time.monotonic_ns()
            words[REQUEST] = head[0]
            if collecting:
                gc.enable()

            body = self._body[: size - frames.HEAD_BYTES] if fd is None else frames.read_file(fd)
            self._send(self._run(serve, frames.unpack_work(body)))

            words[DONE] += 1
            words[REQUEST] = NOTHING
            interrupts.reset()

    def _worn_out(self) -> bool:
        terms, words = self.terms, self.words
        if terms.max_tasks is not None and words[DONE] >= terms.max_tasks:
            return True
        return terms.max_memory_kib is not None and words[MEMORY_KIB] > terms.max_memory_kib

    def _run(self, serve: Serve, work: Work) -> Outcome:
        if work.announce:
            started = Started(request=work.request, pid=os.getpid(), at=time.time())
            self._note(frames.STARTED, started)
        outcome: Outcome | None = None
        try:
            interrupts.allow()
            outcome = serve(work)
            interrupts.forbid()
        except SoftTimeLimitExceeded as exc:
            # `serve` left the window open beyond the task's own code.
            if outcome is None:
                outcome = Outcome(request=work.request, kind=FAILED, text=repr(exc))
        self._flee_if_stray()
        self._weigh(outcome)
        return outcome

    def _flee_if_stray(self) -> None:
        if self.stray:
            _flush_output()
            os._exit(0)

    def _weigh(self, outcome: Outcome) -> None:
        if self.terms.max_memory_kib is not None:
            self.words[MEMORY_KIB] = outcome.memory_kib = _peak_memory_kib()

    # Sending

    def _note(self, tag: int, body: Started | None = None) -> None:
        self._up(self.channels.outcomes, frames.Parcel(frames.pack_note(tag, body)))

    def _complain(self, text: str) -> None:
        record = frames.pack_trouble(os.getpid(), text)
        self._up(self.channels.outcomes, frames.Parcel(record))

    def _send(self, outcome: Outcome) -> None:
        parcel = self._packed(outcome)
        if parcel.fd is None:
            self._up(self.channels.outcomes, parcel)
            return
        # The file first: whoever reads the note finds it there.
        self._up(self.channels.bulk, parcel)
        parcel.close()
        self._note(frames.IN_FILE)

    def _packed(self, outcome: Outcome) -> frames.Parcel:
        try:
            return frames.pack_outcome(outcome)
        except OSError:
            # Tasks have leaked every descriptor; a fresh child takes over after this one.
            os.close(self._reserve)
            self.leaving = True
            return frames.pack_outcome(outcome)

    def _up(self, end: socket.socket, parcel: frames.Parcel) -> None:
        try:
            parcel.send(end)
        except ConnectionError:
            # The parent is gone, and with it whoever would settle this request.
            os._exit(0)


def _allow_ends() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDS)


def _die_with_parent(parent: int) -> None:
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def _peak_memory_kib() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes on macOS, KiB elsewhere: getrusage(2) of each.
    return peak // 1024 if sys.platform == "darwin" else peak


def _flush_output() -> None:
    # Closed, or nobody reads: this process ends now, and has no other place to say so.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
