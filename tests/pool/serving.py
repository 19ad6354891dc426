"""What the children of these tests do, and how a test drives a pool."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

from taskctl.core import interrupts
from taskctl.core.pool import Pool, Serve, Started, Work
from taskctl.core.wire.outcome import FAILED, SUCCEEDED, Outcome, StoredMeta


def serve(work: Work) -> Outcome:
    """Do what the envelope says: a word, and its argument behind a space."""
    verb, _, argument = work.envelope.partition(b" ")
    try:
        text = _VERBS[verb.decode()](argument)
    except Exception as exc:
        return Outcome(request=work.request, kind=FAILED, text=repr(exc))
    finally:
        interrupts.forbid()
    results = [StoredMeta(task_id="t", state="SUCCESS", meta=text)] if verb == b"big" else []
    shown = "" if verb == b"big" else str(text)
    return Outcome(request=work.request, kind=SUCCEEDED, text=shown, results=results)


def boot(index: int) -> Serve:
    return serve


def logging_to(path: os.PathLike[str]) -> Callable[[int], Serve]:
    """A boot whose `serve` first writes its request number, a line each, to `path`."""

    def boot(index: int) -> Serve:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

        def serve_and_log(work: Work) -> Outcome:
            os.write(fd, b"%d\n" % work.request)
            return serve(work)

        return serve_and_log

    return boot


def _sleep(argument: bytes) -> str:
    time.sleep(float(argument))
    return "slept"


def _spin(argument: bytes) -> str:
    until = time.monotonic() + float(argument)
    while time.monotonic() < until:
        sum(range(100))
    return "spun"


def _stubborn(argument: bytes) -> str:
    """Outlive the soft limit once."""
    try:
        _sleep(argument)
    except Exception as exc:
        return f"cleaned up after {type(exc).__name__}"
    return "slept"


def _kill(argument: bytes) -> str:
    os.kill(os.getpid(), int(argument))
    return "survived"


def _exit(argument: bytes) -> str:
    os._exit(int(argument))


def _wait_for(argument: bytes) -> str:
    """Run until the file exists."""
    while not os.path.exists(argument):
        time.sleep(0.002)
    return "found"


def _fork(argument: bytes) -> str:
    """Fork, and let both come back, as careless code does."""
    return str(os.fork() == 0)


def _helper(argument: bytes) -> str:
    """Start a helper process and terminate it, as multiprocessing does."""
    helper = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    helper.start()
    helper.terminate()
    helper.join(5)
    return str(helper.exitcode)


def _leak(argument: bytes) -> str:
    """Use up every descriptor there is."""
    try:
        while True:
            os.dup(2)
    except OSError:
        return "leaked"


_VERBS: dict[str, Callable[[bytes], Any]] = {
    "echo": lambda argument: len(argument),
    "pid": lambda argument: os.getpid(),
    "sleep": _sleep,
    "spin": _spin,
    "stubborn": _stubborn,
    "kill": _kill,
    "exit": _exit,
    "wait": _wait_for,
    "big": lambda argument: b"r" * int(argument),
    "fork": _fork,
    "helper": _helper,
    "leak": _leak,
    "hog": lambda argument: len(bytearray(b"h" * int(argument))),
    "fail": lambda argument: 1 // 0,
    "stdin": lambda argument: os.readlink("/proc/self/fd/0"),
    "sigint": lambda argument: signal.getsignal(signal.SIGINT).name,
}


class Driver:
    """Numbers requests, collects outcomes, and waits the way a worker does."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.outcomes: dict[int, Outcome] = {}
        #: Requests in the order in which their outcomes came; a double would show.
        self.order: list[int] = []
        self.started: list[Started] = []
        self._next = 0

    def submit(self, *envelopes: bytes, **options: Any) -> list[int]:
        """Submit a piece of work for each envelope; return their numbers."""
        batch = []
        for envelope in envelopes:
            batch.append(Work(request=self._next, envelope=envelope, **options))
            self._next += 1
        self.pool.submit(batch)
        return [work.request for work in batch]

    def turn(self, most: float = 0.05) -> None:
        """Wait as a worker waits, then collect."""
        waiter = select.poll()
        for fd in self.pool.filenos():
            waiter.register(fd, select.POLLIN)
        waiter.poll(min(most, self.pool.next_look()) * 1000)
        self.take(self.pool.collect())

    def take(self, told: Sequence[Outcome | Started]) -> None:
        for record in told:
            if isinstance(record, Started):
                self.started.append(record)
            else:
                self.outcomes[record.request] = record
                self.order.append(record.request)

    def until(self, check: Callable[[], Any], within: float = 15.0) -> Any:
        """Turn until `check` is truthy; return what it says."""
        deadline = time.monotonic() + within
        while not (value := check()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {within} s: {self.pool.trouble()}")
            self.turn()
        return value

    def wait(self, *requests: int, within: float = 15.0) -> list[Outcome]:
        """Return the outcomes of these requests."""
        missing = list(reversed(requests))

        def complete() -> bool:
            while missing and missing[-1] in self.outcomes:
                missing.pop()
            return not missing

        self.until(complete, within)
        return [self.outcomes[r] for r in requests]

    def runs(self, request: int) -> bool:
        return any(running.request == request for running in self.pool.running())

    def run(self, envelope: bytes, **options: Any) -> Outcome:
        """Submit one piece of work and return its outcome."""
        return self.wait(*self.submit(envelope, **options))[0]
