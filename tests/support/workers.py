"""Real workers of the trial project, each a process group of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from taskctl import App

from .waiting import eventually

ROOT = Path(__file__).resolve().parents[2]


class Node:
    """One worker process and its children."""

    def __init__(self, process: subprocess.Popen[bytes], name: str, log: Path) -> None:
        self.process = process
        self.name = name
        self.pid = process.pid
        self._log = log
        self._forgotten = 0

    @property
    def log(self) -> str:
        return self._log.read_bytes()[self._forgotten :].decode()

    def forget_log(self) -> None:
        """Leave out of `log` what stands there now."""
        self._forgotten = self._log.stat().st_size

    def ready(self, within: float = 20.0) -> Node:
        """Wait until it says so."""
        eventually(lambda: "ready in" in self.log or self.process.poll() is not None, within=within)
        assert self.process.poll() is None, self.log
        return self

    def children(self) -> list[int]:
        try:
            text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        except FileNotFoundError:
            return []
        return [int(word) for word in text.split()]

    def tell(self, signum: int) -> None:
        os.kill(self.pid, signum)

    def kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def exit_code(self, within: float = 20.0) -> int:
        """Wait for its end."""
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs:\n{self.log}") from None

    def cpu_seconds(self) -> float:
        """Return what the parent has used of the processors so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def gone(pid: int) -> bool:
    """Return whether a process has ended; one that nobody has reaped yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


class Farm:
    """One broker, the workers on it, and the marks their tasks leave."""

    def __init__(self, folder: Path, url: str, **settings: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.url = url
        # RabbitMQ keeps messages; results lie beside it.
        results = f"sqlite:///{folder}/results.db" if url.startswith("amqp") else url
        self.settings = {"broker_url": url, "result_backend": results, **settings}
        self.app = App("client", set_as_current=False, **self.settings)
        self.marks = folder / "marks"
        self.nodes: list[Node] = []

    def start(self, name: str = "w1", *, settings: Any = (), env: Any = (), **options: Any) -> Node:
        """Start a worker; `options` are those of `resolve`."""
        given = {"hostname": f"{name}@test", "concurrency": 2, **options}
        number = sum(node.name == name for node in self.nodes)
        log = self.folder / f"{name}-{number}.log"
        with open(log, "wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.worker_main", json.dumps(given)],
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={
                    **os.environ,
                    "TRIAL_SETTINGS": json.dumps({**self.settings, **dict(settings)}),
                    "TRIAL_MARKS": str(self.marks),
                    **dict(env),
                },
                start_new_session=True,
            )
        node = Node(process, name, log)
        self.nodes.append(node)
        return node

    def send(self, task: str, *args: Any, **options: Any) -> Any:
        return self.app.send_task(f"trial.{task}", args, **options)

    def runs(self) -> Counter[str]:
        """Return how often each key has begun to run."""
        return Counter(line.split()[0] for line in self._lines())

    def times(self, key: str) -> list[float]:
        """Return when `key` began, as unix times."""
        return [float(line.split()[2]) for line in self._lines() if line.split()[0] == key]

    def pids(self, key: str) -> list[int]:
        """Return which processes ran `key`."""
        return [int(line.split()[1]) for line in self._lines() if line.split()[0] == key]

    def _lines(self) -> list[str]:
        return self.marks.read_text().splitlines() if self.marks.exists() else []

    def size(self, queue: str = "celery") -> int:
        with self.app.connection() as connection:
            return connection.broker.size(queue)

    def unacked(self, queue: str = "celery") -> int:
        with self.app.connection() as connection:
            return sum(q.unacked for q in connection.broker.queues() if q.name == queue)

    def dead(self) -> list[dict[str, Any]]:
        """Return the dead letters: their headers, the facts of burial under "taskctl-dead"."""
        with self.app.connection() as connection:
            return [json.loads(e)["headers"] for e in connection.broker.peek("celery.dead")]

    def forget(self) -> None:
        """Let the past be: marks, logs, messages that wait and dead letters."""
        self.marks.unlink(missing_ok=True)
        for node in self.nodes:
            node.forget_log()
        with self.app.connection() as connection:
            for queue in ("celery", "celery.dead"):
                connection.broker.purge(queue)

    def close(self) -> None:
        for node in self.nodes:
            node.kill_group()
            node.process.wait(10)
        self.app.close()
