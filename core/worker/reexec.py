"""Executing the program anew in the same process, and what it then knows of its past.

The pid stays, and so do the standard streams, the pidfile's locks (pidfile.keep_over_exec) and the
pipe to whoever waits for ready (daemon.keep_ready_pipe).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NoReturn

_VARIABLE = "TASKCTL_AGAIN"


@dataclass(frozen=True)
class Past:
    """What this process did before the exec.

    `detached`: it went into the background; `silent`: its output is dropped once it is ready;
    `restarted`: it has worked already, and HUP made it begin again.
    """

    detached: bool = False
    silent: bool = False
    restarted: bool = False


def take_past() -> Past:
    """Return the past of this very process; what an ancestor left in the environment goes by."""
    try:
        found = json.loads(os.environ.pop(_VARIABLE, "{}"))
        return Past(**found["past"]) if found.get("pid") == os.getpid() else Past()
    except (ValueError, TypeError, KeyError, AttributeError):
        return Past()


def own_argv() -> list[str]:
    """Return the command line that starts this program as it was started."""
    return [sys.executable, *sys.orig_argv[1:]]


def execute(argv: Sequence[str], past: Past) -> NoReturn:
    """Become this program, with that past.

    Raises OSError if it cannot be executed; then nothing has changed.
    """
    os.environ[_VARIABLE] = json.dumps({"pid": os.getpid(), "past": asdict(past)})
    # Until the new program has its handlers, these would end it.
    early = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2) if past.restarted else ()
    before = {number: signal.signal(number, signal.SIG_IGN) for number in early}
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    try:
        os.execv(argv[0], list(argv))
    except OSError:
        del os.environ[_VARIABLE]
        for number, handler in before.items():
            signal.signal(number, handler)
        raise
