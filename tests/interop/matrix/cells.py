"""One column of the matrix: a worker, both clients, all rows."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kombu.pools
import pytest
from redis import Redis

from ...support.rabbit import RabbitControl
from ...support.servers import RedisServer
from . import project
from .api import Api
from .cases import CASES, Case

ROOT = Path(__file__).resolve().parents[3]
LIBRARIES = ("celery", "taskctl")


class Station:
    """The broker, the workers and the marks of one column."""

    def __init__(
        self,
        worker: str,
        broker: str,
        folder: Path,
        settings: dict[str, Any],
        environment: dict[str, str] | None = None,
    ) -> None:
        self.worker, self.broker, self.folder, self.settings = worker, broker, folder, settings
        #: What workers have in theirs beside this process's own.
        self.environment = environment or {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        # Celery's connections outlive their apps, and RabbitMQ hangs up on those that are silent.
        kombu.pools.reset()
        self.clients = {
            kind: Api(project.make(kind, **settings), kind, worker, broker, folder)
            for kind in LIBRARIES
        }
        #: Clients that sent nothing.
        self.readers: list[Any] = []
        for api in self.clients.values():
            api.start_ranks = self.start_ranks

    def start(
        self, name: str, *options: str, kind: str | None = None, await_answer: bool = True
    ) -> None:
        """Start a worker, by default of this column's library, and wait until it answers."""
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                [
                    *(sys.executable, "-m", kind or self.worker),
                    *("-A", "tests.interop.matrix.project", "worker"),
                    *("-n", f"{name}@matrix", "-l", "INFO", *options),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={
                    **os.environ,
                    **self.environment,
                    "MATRIX_KIND": kind or self.worker,
                    "MATRIX_SETTINGS": json.dumps(self.settings),
                    "MATRIX_MARKS": str(self.folder / "marks"),
                    "C_FORCE_ROOT": "1",
                },
                start_new_session=True,
            )
        if await_answer:
            self.await_answer(name)

    def await_answer(self, name: str) -> None:
        """Wait until a worker answers a ping."""
        control = self.clients["celery"].app.control
        for _ in range(40):
            if control.ping([f"{name}@matrix"], timeout=1.0):
                return
            if self._processes[name].poll() is not None:
                break
        raise AssertionError(f"{name} does not answer:\n{self.log(name)}")

    def stop(self, name: str) -> int:
        """Let a worker finish what it runs; return its exit code."""
        process = self._processes.pop(name)
        process.terminate()
        return process.wait(timeout=60)

    def keys(self) -> list[str]:
        """Return the key of each mark that tasks have left."""
        path = self.folder / "marks"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line)[0] for line in lines]

    def ran(self) -> int:
        """Return how many marks there are."""
        path = self.folder / "marks"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def start_ranks(self) -> None:
        if "ranks" not in self._processes:
            self.start("ranks", "-P", "solo", "-Q", "ranks")

    def log(self, name: str = "main") -> str:
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace")[-6000:] if path.exists() else ""

    def alive(self) -> bool:
        return all(process.poll() is None for process in self._processes.values())

    def close(self) -> None:
        for api in self.clients.values():
            api.app.close()
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=10)
        shutil.rmtree(self.folder, ignore_errors=True)


def settings_for(broker: str, request: pytest.FixtureRequest, number: int) -> dict[str, Any]:
    """Return the URLs of a broker and of a Redis database for results."""
    redis: RedisServer = request.getfixturevalue("redis_server")
    results = f"redis://127.0.0.1:{redis.port}/{number}"
    with Redis.from_url(results) as client:
        client.flushdb()
    if broker == "redis":
        return {"broker_url": results, "result_backend": results}
    # What another test leaves at the broker, its nodes above all, is none of this fleet's.
    control: RabbitControl = request.getfixturevalue("rabbitmq_control")
    url = control.new_vhost()
    request.addfinalizer(lambda: control.drop_vhost(url))
    return {"broker_url": url, "result_backend": results}


@contextlib.contextmanager
def station(
    worker: str, broker: str, request: pytest.FixtureRequest, folder: Path
) -> Iterator[Station]:
    """Run one column's worker."""
    number = 70 + LIBRARIES.index(worker)  # a database of its own for each column
    standing = Station(worker, broker, folder, settings_for(broker, request, number))
    try:
        standing.start("main", "-c", "2", "-Q", "celery,video")
        yield standing
    finally:
        standing.close()


def run_cell(
    standing: Station,
    client: str,
    row: Case,
    record: Callable[[str, object], None],
    table: str = "Tasks and workflows",
) -> None:
    """Run one cell, and tell the table of it; show the worker's log when it fails."""
    record("cell", [row.name, client, standing.worker, standing.broker, table])
    celery_alone = client == standing.worker == "celery"
    reason = row.beyond.get(standing.broker)
    if reason and not celery_alone:
        pytest.skip(f"not between Celery and Celery either: {reason}")
    try:
        row.run(standing.clients[client])
    except Exception as exc:
        if reason:
            return
        if not standing.alive():
            exc.add_note(f"a worker has ended:\n{standing.log()}")
        else:
            exc.add_note(f"the worker's log ends:\n{standing.log()[-2500:]}")
        raise
    finally:
        standing.clients[client].open_gates()
    if reason:
        pytest.fail(f"Celery can do this on {standing.broker} after all: {reason}")


def pytest_params() -> list[Any]:
    return [
        pytest.param(client, row, id=f"{client}-{row.name}")
        for client in LIBRARIES
        for row in CASES
    ]
