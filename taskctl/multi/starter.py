"""Starting nodes, several at a time, each recorded and seen through until it is ready."""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import replace

from taskctl.core.errors import PidfileError
from taskctl.core.pidfile import LivePid, Stale
from taskctl.core.process import age, birth

from .boot import Boot
from .nodes import Node
from .records import Record, RecordError, Records, record_of
from .report import Report
from .stopper import Target


class Starter:
    """Starts nodes, at most `parallel` booting at a time (None: all)."""

    def __init__(
        self,
        records: Records,
        *,
        ready_timeout: float = 30.0,
        wait: bool = True,
        parallel: int | None = None,
    ) -> None:
        self.records = records
        self.ready_timeout = ready_timeout
        self.wait = wait
        self.parallel = parallel
        self._waiting: deque[tuple[Node, int | None]] = deque()
        self._booting: list[tuple[Boot, Record]] = []

    @property
    def idle(self) -> bool:
        return not self._waiting and not self._booting

    def add(self, node: Node, old_pid: int | None = None) -> None:
        """Start this node as soon as there is room."""
        self._waiting.append((node, old_pid))

    def turn(self) -> list[Report]:
        """Spawn what may be spawned, look at what boots; return what came to an end."""
        reports = []
        while self._waiting and (self.parallel is None or len(self._booting) < self.parallel):
            report = self._spawn(*self._waiting.popleft())
            if report is not None:
                reports.append(report)
        for booting in list(self._booting):
            boot, record = booting
            report = boot.poll(self.ready_timeout)
            if report is None:
                continue
            self._booting.remove(booting)
            if report.state == "ready" and report.pid is not None:
                born = birth(report.pid)
                self._remember(
                    replace(record, pid=report.pid, born=born, queues=tuple(report.queues))
                )
            reports.append(report)
        return reports

    def _spawn(self, node: Node, old_pid: int | None) -> Report | None:
        """Spawn a node; a report if there is no more to wait for."""
        target = Target(node.name, node.pidfile, node.logfile, node.healthfile)
        note = None
        try:
            found = target.look()
            if isinstance(found, LivePid):
                return target.report("running", pid=found.pid, seconds=age(found.pid))
            if isinstance(found, Stale):
                note = target.clear(found)
            environ = {**node.env, **os.environ}
            boot = Boot(node, environ, old_pid)
        except PidfileError as exc:
            return target.report("failed", exit_code=73, error=str(exc), old_pid=old_pid)
        except OSError as exc:
            return target.report("failed", old_pid=old_pid, **_spawn_failure(node, exc))
        record = record_of(node, environ)
        record = replace(record, pid=boot.pid, born=boot.born, started_at=time.time())
        boot.note = self._remember(record) or note
        if not self.wait:
            return boot.leave()
        self._booting.append((boot, record))
        return None

    def _remember(self, record: Record) -> str | None:
        """Write the record; a note for people if that fails, which stops no node."""
        try:
            self.records.save(record)
        except RecordError as exc:
            return f"{exc}; until then stop and restart need all options again"
        return None


def _spawn_failure(node: Node, exc: OSError) -> dict[str, object]:
    reason = exc.strerror or str(exc)
    if exc.filename == node.spec.cwd:
        return {"error": f"cannot change to folder {exc.filename}: {reason}"}
    if exc.filename == node.argv[0]:
        return {"error": f"cannot run {exc.filename}: {reason}; see --executable"}
    cure = "choose another place with --pidfile and --logfile"
    return {"exit_code": 73, "error": f"cannot make {exc.filename}: {reason}; {cure}"}
