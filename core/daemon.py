"""Starting in the background, and telling whoever started us how it went.

Who starts a worker hands it the writing end of a pipe, its number in TASKCTL_READY_FD. The
worker writes one JSON line: `{"state": "ready", "pid": ..., ...}` once it consumes, or
`{"state": "failed", "exit": 78, "error": "..."}`. The end of the pipe without a line means that
it died. The variable is taken out of the environment at once and the pipe is closed in every
forked or executed child, so only the worker itself holds it open.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import IO, Any, NoReturn

READY_VARIABLE = "TASKCTL_READY_FD"

#: How many lines of a dead worker's output are shown.
TAIL_LINES = 20

_ready_fd: int | None = None
_silent_once_ready = False


def claim_ready_pipe() -> None:
    """Take over the pipe named in the environment, if any; call before the first fork."""
    global _ready_fd
    number = os.environ.pop(READY_VARIABLE, "")
    if not number.isdigit():
        return
    with contextlib.suppress(OSError):  # a number left over from another process
        os.set_inheritable(int(number), False)
        _ready_fd = int(number)


def report_ready(facts: Mapping[str, Any]) -> None:
    """Tell who started us that work is taken now; nothing happens if nobody asked.

    `facts`: `seconds` since the start, `queues` by name, and what else is worth showing.
    """
    _report({"state": "ready", "pid": os.getpid(), **facts})
    if _silent_once_ready:
        _point_output_at_nothing()


def report_failed(exit_code: int, error: str) -> None:
    """Tell who started us, in one sentence, why we are about to exit with this code."""
    _report({"state": "failed", "exit": exit_code, "error": error})


def keep_ready_pipe() -> bool:
    """Carry the pipe over an exec; return whether output is dropped once ready."""
    if _ready_fd is not None:
        os.set_inheritable(_ready_fd, True)
        os.environ[READY_VARIABLE] = str(_ready_fd)
    return _silent_once_ready


def resume(silent: bool) -> None:
    """Go on after an exec, before which output was to be dropped once ready, or not."""
    global _silent_once_ready
    _silent_once_ready = _silent_once_ready or silent


def write_output_to(logfile: str) -> None:
    """Let what a detached process writes go to this file.

    Raises OSError.
    """
    global _silent_once_ready
    sys.stdout.flush()
    sys.stderr.flush()
    with open(logfile, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    _silent_once_ready = False


def daemonize(
    logfile: str | None = None,
    what: str = "the worker",
    *,
    told: Callable[[Mapping[str, Any]], None] | None = None,
) -> None:
    """Return in a detached child; the calling process waits for ready, and exits.

    It exits 0 once the child calls `report_ready`, whose facts are handed to `told`. Otherwise it
    prints why on stderr and exits with the child's code (128+N if signal N ended it). Output goes
    to `logfile`; without one it is kept until ready, for that error, and dropped from then on.
    `what` is what the error calls this program.

    Call before threads are started and connections opened. Raises OSError for the logfile.
    """
    global _ready_fd, _silent_once_ready
    claim_ready_pipe()
    output: IO[bytes] = open(logfile, "ab") if logfile else tempfile.TemporaryFile()  # noqa: SIM115
    start = output.seek(0, os.SEEK_END)
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    if child := os.fork():
        os.close(writer)
        _wait_and_exit(child, reader, what, told, lambda: tail(logfile or output.fileno(), start))
    os.close(reader)
    os.setsid()
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    output.close()
    _ready_fd, _silent_once_ready = writer, logfile is None


def read_report(line: bytes) -> dict[str, Any] | None:
    """Return the report of one line from a ready pipe, None if there is none in it."""
    try:
        report = json.loads(line)
    except ValueError:
        return None
    return report if isinstance(report, dict) and "state" in report else None


def tail(source: str | int, start: int = 0, lines: int = TAIL_LINES) -> list[str]:
    """Return the last lines that were written to a file (path or descriptor) since `start`."""
    try:
        with open(os.dup(source) if isinstance(source, int) else source, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            # 8 KiB hold twenty long lines; a log that was truncated meanwhile is read whole.
            file.seek(max(start if start <= size else 0, size - 8192))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return text.splitlines()[-lines:]


def exit_code(status: int) -> int:
    """Return a wait status as a shell would: 128+N for signal N."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _report(report: Mapping[str, Any]) -> None:
    global _ready_fd
    claim_ready_pipe()
    if _ready_fd is None:
        return
    fd, _ready_fd = _ready_fd, None
    # Who started us may be gone by now; that is no reason to stop.
    with contextlib.suppress(BrokenPipeError), open(fd, "wb") as pipe:
        pipe.write(json.dumps(report, default=str).encode() + b"\n")


def _wait_and_exit(
    child: int,
    reader: int,
    what: str,
    told: Callable[[Mapping[str, Any]], None] | None,
    last_words: Callable[[], list[str]],
) -> NoReturn:
    """Pass on what the child reports, to stderr and to who started us, and exit like it."""
    with open(reader, "rb") as pipe:
        report = read_report(pipe.readline())
    if report is not None and report["state"] == "ready":
        if told is not None:
            told(report)
        _report(report)
        os._exit(0)
    if report is not None:
        code, error = int(report["exit"]), str(report["error"])
    else:
        code = exit_code(os.waitpid(child, 0)[1]) or 1
        error = f"{what} ended with exit {code} before it was ready"
        for line in last_words():
            print(line, file=sys.stderr)
    print(f"error: {error}", file=sys.stderr, flush=True)
    _report({"state": "failed", "exit": code, "error": error})
    os._exit(code)


def _point_output_at_nothing() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)


def _close_in_child() -> None:
    global _ready_fd
    if _ready_fd is not None:
        os.close(_ready_fd)
        _ready_fd = None


os.register_at_fork(after_in_child=_close_in_child)
