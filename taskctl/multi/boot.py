"""One node on its way from spawned to ready.

The node is a child of this process, in a session of its own, its output appended to its log. So
a node that dies while booting shows its true exit code and its last words, and one that lives
goes on when this process ends. Ready is what it says on the ready pipe (taskctl.core.daemon).
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping

from taskctl.core.daemon import READY_VARIABLE, TAIL_LINES, read_report, tail
from taskctl.core.places import make_folder
from taskctl.core.process import birth

from .nodes import Node
from .report import Report

#: Seconds from the last word on the pipe to the end of the process, before we stop waiting for it.
_DYING = 5.0


class Boot:
    """A node that was just spawned; look with `poll` until it gives a report."""

    def __init__(self, node: Node, environ: Mapping[str, str], old_pid: int | None = None) -> None:
        """Spawn the node.

        Raises OSError if its program or folder is not there, or its log cannot be written.
        """
        self.node = node
        self.old_pid = old_pid
        self.note: str | None = None
        self.started = time.monotonic()
        self._received = b""
        self._silent_since: float | None = None
        self._log_start, log = _make_files(node)
        self._pipe, writer = os.pipe()
        os.set_blocking(self._pipe, False)
        try:
            self.process = subprocess.Popen(
                node.argv,
                cwd=node.spec.cwd,
                env={**environ, READY_VARIABLE: str(writer)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(writer,),
            )
        except OSError:
            os.close(self._pipe)
            raise
        finally:
            os.close(writer)
            os.close(log)
        self.pid = self.process.pid
        self.born = birth(self.pid)

    def poll(self, ready_timeout: float) -> Report | None:
        """Return what became of the node, None while it is still booting; never wait."""
        ended = self.process.poll() is not None
        closed = self._read()
        report = read_report(self._received) if b"\n" in self._received else None
        if report is not None and report["state"] == "ready":
            queues = [str(queue) for queue in report.get("queues") or ()]
            pid = int(report.get("pid", self.pid))
            return self._end("ready", pid=pid, queues=queues)
        if ended or self._given_up(closed or report is not None):
            return self._failure(report)
        if time.monotonic() - self.started > ready_timeout:
            return self._end(
                "failed",
                pid=self.pid,
                error=f"not ready after {ready_timeout:g} s; left running, pid {self.pid}",
            )
        return None

    def leave(self) -> Report:
        """Return the report of a node that nobody waits for."""
        return self._end("spawned", pid=self.pid)

    def _read(self) -> bool:
        """Take in what the pipe has; True at its end."""
        try:
            while part := os.read(self._pipe, 65536):
                self._received += part
        except BlockingIOError:
            return False
        return True

    def _given_up(self, silent: bool) -> bool:
        """A node that says no more is about to end; after a while we stop waiting for that."""
        if not silent:
            return False
        self._silent_since = self._silent_since or time.monotonic()
        return time.monotonic() - self._silent_since > _DYING

    def _failure(self, report: Mapping[str, object] | None) -> Report:
        code = self.process.returncode
        if report is not None:
            error = str(report.get("error") or "it gave no reason")
            return self._end("failed", exit_code=self._exit_code(report), error=error)
        if code is None:
            how = "it closed its ready pipe without a word and runs on"
        elif code < 0:
            how = f"killed by signal {-code} before it was ready"
        else:
            how = f"it ended with exit {code} before it was ready"
        words = tail(self.node.logfile, self._log_start, TAIL_LINES)
        return self._end("failed", exit_code=self._exit_code({}), error=how, last_words=words)

    def _exit_code(self, report: Mapping[str, object]) -> int | None:
        # What it said before the end counts: on a full disk Python itself ends otherwise.
        reported = report.get("exit")
        if isinstance(reported, int):
            return reported
        code = self.process.returncode
        return code if code is None or code >= 0 else 128 - code

    def _end(self, state: str, **facts: object) -> Report:
        os.close(self._pipe)
        if self.process.returncode is None:
            # It outlives us on purpose; Popen would warn that it was not waited for.
            self.process.returncode = 0
        return Report(
            self.node.name,
            state,
            old_pid=self.old_pid,
            pidfile=self.node.pidfile,
            logfile=self.node.logfile,
            seconds=time.monotonic() - self.started,
            note=self.note,
            **facts,  # type: ignore[arg-type]
        )


def _make_files(node: Node) -> tuple[int, int]:
    """Make the folders of a node and open its log; return where this start's output begins.

    A node that gives up the rights of root (--uid, --gid) owns what is made here for it.
    """
    owner = node.owner
    make_folder(os.path.dirname(node.pidfile), owner=owner)
    make_folder(os.path.dirname(node.logfile), owner=owner)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    log = os.open(node.logfile, flags, 0o644)
    size = os.fstat(log).st_size
    if owner is not None and size == 0:
        os.fchown(log, *owner)
    return size, log
