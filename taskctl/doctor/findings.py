"""What a check says, and how checks are run: one after another, each bounded in time."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

from taskctl.core.redact import mask_text
from taskctl.failures import describe

OK, WARN, FAIL, SKIP = "ok", "warn", "FAIL", "skip"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's: `cure` is a command line that can be pasted, or a short advice."""

    check: str
    state: str
    message: str
    cure: str = ""
    seconds: float = 0.0

    def row(self) -> dict[str, Any]:
        """Return it as the native JSON has it."""
        return {
            "check": self.check, "state": self.state, "message": mask_text(self.message),
            "cure": mask_text(self.cure) or None, "seconds": round(self.seconds, 4),
        }  # fmt: skip


class Trouble(Exception):
    """Raised by a check that cannot go on: what needs it is skipped.

    It has failed, unless `state` says that there is only nothing to look at yet.
    """

    def __init__(self, message: str, cure: str = "", state: str = FAIL) -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure
        self.state = state


@dataclass(frozen=True)
class Said:
    """What a check found: its state, its message, its cure."""

    state: str
    message: str
    cure: str = ""


def ok(message: str) -> Said:
    """Return that all is well."""
    return Said(OK, message)


def warn(message: str, cure: str = "") -> Said:
    """Return something that may hurt."""
    return Said(WARN, message, cure)


def fail(message: str, cure: str = "") -> Said:
    """Return something that is broken."""
    return Said(FAIL, message, cure)


@dataclass(frozen=True)
class Check:
    """One look: `run` returns what it found, `needs` are checks that must not have failed."""

    name: str
    run: Callable[[Any], Iterable[Said]]
    needs: Sequence[str] = ()


class TimeUp(BaseException):
    """Raised in a check whose time has run out; no handler of the user's code catches it."""


def examine(checks: Sequence[Check], patient: Any, timeout: float) -> Iterator[Finding]:
    """Yield the findings of all checks in order; a check takes at most `timeout` seconds.

    A check whose need was not met is skipped. One that ends with an error has failed.
    """
    unmet: set[str] = set()
    for check in checks:
        missing = [name for name in check.needs if name in unmet]
        if missing:
            unmet.add(check.name)
            yield Finding(check.name, SKIP, f"not looked at: {missing[0]} comes first")
            continue
        began = time.monotonic()
        said, broken = _run(check, patient, timeout)
        took = time.monotonic() - began
        if broken:
            unmet.add(check.name)
        for one in said:
            yield Finding(check.name, one.state, one.message, one.cure, took)


def _run(check: Check, patient: Any, timeout: float) -> tuple[list[Said], bool]:
    """Return what a check found, and whether those that need it have nothing to stand on."""
    try:
        with bounded(timeout):
            said = list(check.run(patient))
        # What is well is said of a check that has nothing else to say.
        return [one for one in said if one.state != OK] or said[:1], False
    except TimeUp:
        return [fail(f"no answer within {timeout:g} s", "give it longer with --timeout")], True
    except Trouble as exc:
        return [Said(exc.state, exc.message, exc.cure)], True
    except Exception as exc:
        error = describe(exc)
        if error is None:
            raise
        return [fail(error.message, next(iter(error.hints), ""))], True


@contextlib.contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Raise TimeUp in the block after so many seconds, also in the midst of a system call.

    Only the main thread can be interrupted; elsewhere nothing is bounded.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeUp

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def with_cure(finding: Finding, prefix: str) -> Finding:
    """Return a finding whose cure, if it calls taskctl, names the app as it was named here."""
    own = finding.cure.startswith("taskctl ") and not finding.cure.startswith("taskctl multi ")
    if prefix and own:
        return replace(finding, cure=f"taskctl {prefix} {finding.cure.removeprefix('taskctl ')}")
    return finding
