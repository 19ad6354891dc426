"""Several beats of one app, as processes, and what they have sent."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

from taskctl import App
from taskctl.core.beat.election import candidacy_of, group_of
from taskctl.core.brokers import open_broker
from taskctl.core.sqlitefile import path_of_url
from taskctl.core.wire.message import decode_envelope
from taskctl.core.wire.queues import direct_queue

from ..support.waiting import eventually

SOURCE = """
from taskctl import App

app = App("beaten", broker_url={url!r}, beat_lease={lease}, beat_catchup="all",
          beat_catchup_limit=10_000)
app.conf.beat_schedule = {{
    name: {{"task": "proj.tick", "schedule": every, "args": (name,)}}
    for name, every in {entries!r}.items()
}}
"""

ENTRIES = {"fast": 0.15, "slow": 0.4}


class Beats:
    """Beats on one broker; each has a folder, and a file, of its own."""

    def __init__(
        self, folder: Path, url: str, entries: dict[str, float] = ENTRIES, lease: float = 2.0
    ) -> None:
        self.folder, self.url, self.entries = folder, url, entries
        (folder / "ticking.py").write_text(SOURCE.format(url=url, lease=lease, entries=entries))
        self.app = App("beaten", set_as_current=False, broker_url=url, beat_lease=lease)
        self.looker = candidacy_of(self.app, group_of(self.app), "looker")
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self._started = 0

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        self._started += 1
        name = f"beat{self._started}"
        with open(self.folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "taskctl", "-A", "ticking", "beat", "-l", "INFO",
                 "-s", str(self.folder / name), "-n", name, *options],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self.processes[process.pid] = process
        return process

    def log(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def leader(self, but: int = 0) -> int:
        """Return the pid of who leads, once somebody other than `but` does."""

        def found() -> int:
            claim = self.looker.look()
            pid = 0 if claim is None else int(claim.record.get("pid") or 0)
            return pid if pid != but and pid in self.processes else 0

        try:
            return int(eventually(found, within=30))
        except AssertionError:
            raise AssertionError(self.log()) from None

    def runs(self) -> int:
        """Return how many runs the leaders have noted."""
        return sum(note["total_run_count"] for note in self.looker.notes().values())

    def wait_for_runs(self, more: int) -> None:
        """Wait until so many more runs were noted."""
        wanted = self.runs() + more
        eventually(lambda: self.runs() >= wanted, within=30)

    def kill(self, pid: int) -> None:
        self.processes[pid].kill()
        self.processes.pop(pid).wait()

    def stop(self) -> None:
        """Stop all, in peace."""
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes.values():
            process.wait(20)
        self.processes.clear()

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        self.looker.drop()
        self.app.close()

    def halt(self, pid: int) -> None:
        """Stop a beat, but not while it holds the lock of a SQLite file: all would wait for it."""
        os.kill(pid, signal.SIGSTOP)
        while not self._is_free():
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, signal.SIGSTOP)

    def _is_free(self) -> bool:
        if not self.url.startswith("sqlite:"):
            return True
        db = sqlite3.connect(path_of_url(self.url), timeout=0.5, isolation_level=None)
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return False
        finally:
            db.close()
        return True

    def wake(self, pid: int) -> None:
        os.kill(pid, signal.SIGCONT)

    def sent(self) -> dict[str, list[dict[str, Any]]]:
        """Take what waits in the queue: headers of the messages of each entry, in their order."""
        broker = open_broker(self.url, options={}, owner="collector")
        broker.open()
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        try:
            broker.subscribe(direct_queue("celery"))
            expected, count = self.runs(), 0
            while count < expected:
                deliveries = eventually(lambda: broker.receive(500), within=10)
                broker.ack([delivery.tag for delivery in deliveries])
                for delivery in deliveries:
                    message = decode_envelope(delivery.envelope)
                    args, _, _ = json.loads(message.body)
                    found[args[0]].append(message.headers)
                count += len(deliveries)
            assert broker.receive(10) == [], "more was sent than noted"
        finally:
            broker.close()
        return found

    def check(self) -> None:
        """Every run of every entry is there, once, and none is missing in between."""
        for name, headers in self.sent().items():
            due = [datetime.fromisoformat(one["beat_due"]) for one in headers]
            steps = {round((b - a).total_seconds(), 5) for a, b in itertools.pairwise(due)}
            assert steps == {self.entries[name]}, (name, steps, self.log())
            assert len({one["id"] for one in headers}) == len(headers)
            assert {one["beat_entry"] for one in headers} == {name}
