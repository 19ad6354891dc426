"""The test stand: a Redis server of its own, the contestants, their queues and workers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import redis

from taskctl.core.brokers import open_broker
from tests.support.servers import RabbitServer, RedisServer
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[1]
QUEUE = "celery"
#: Celery's three extras that talk to other workers; without them it does less.
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")
#: Below this share of all processors (percent) the machine counts as quiet, and how long (s) to
#: wait for that.
QUIET_PERCENT, QUIET_WITHIN = 12.0, 60.0


@dataclass(frozen=True)
class Contestant:
    """A product as it is set up for a figure."""

    label: str
    product: str
    broker: str = "redis"
    results: bool = False
    options: tuple[str, ...] = ()

    def command(self) -> list[str]:
        """Return the command line of its worker with two children."""
        app = f"benchmarks.apps.{self.product}_app"
        pool = ["-P", "prefork", "-c", "2", "-n", "bench@%h", *self.options]
        return [sys.executable, "-m", self.product, "-A", app, "worker", *pool]


TASKCTL = Contestant("taskctl", "taskctl")
TASKCTL_SQLITE = Contestant("taskctl, SQLite", "taskctl", broker="sqlite")
CELERY = Contestant("Celery", "celery")
#: taskctl on a database of its own, where it may run beside Celery and not meet it.
TASKCTL_APART = Contestant("taskctl", "taskctl", broker="redis/1")
CELERY_QUIET = Contestant("Celery, quiet", "celery", options=QUIET)
TASKCTL_RABBITMQ = Contestant("taskctl", "taskctl", broker="rabbitmq")
CELERY_RABBITMQ = Contestant("Celery", "celery", broker="rabbitmq")


class Stand:
    """Where contestants run, one at a time; close it, and nothing is left."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="taskctl-bench-"))
        self.embedded = self.folder / "embedded"
        self.server = RedisServer()
        self._rabbit: RabbitServer | None = None

    def __enter__(self) -> Stand:
        self.server.start()
        self.redis = redis.Redis(port=self.server.port)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.redis.close()
        self.server.stop()
        if self._rabbit is not None:
            self._rabbit.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def rabbit(self) -> RabbitServer:
        """The RabbitMQ server, started when it is first asked for."""
        if self._rabbit is None:
            self._rabbit = RabbitServer()
            self._rabbit.start()
        return self._rabbit

    def url(self, contestant: Contestant) -> str:
        """Return the URL of its broker."""
        engine, _, number = contestant.broker.partition("/")
        if engine == "redis":
            return self.server.url.removesuffix("0") + (number or "0")
        if engine == "rabbitmq":
            return self.rabbit.url
        return f"sqlite:///{self.embedded}/queue.db"

    def env(self, contestant: Contestant) -> dict[str, str]:
        """Return the environment its programs run in.

        Byte code is cached, as users have it; every kind of file has a folder of the stand's own.
        """
        env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("TASKCTL_", "CELERY_")) and name != "PYTHONDONTWRITEBYTECODE"
        }
        own = {f"TASKCTL_{k.upper()}_DIR": str(self.folder / k) for k in ("run", "log", "state")}
        return {
            **env,
            **own,
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "BENCH_BROKER": self.url(contestant),
            "BENCH_BACKEND": self.server.url if contestant.results else "",
            "PYTHONPYCACHEPREFIX": str(self.folder / "pycache"),
        }

    def clear(self) -> None:
        """Make all brokers as new."""
        self.redis.flushall()
        shutil.rmtree(self.embedded, ignore_errors=True)
        self.embedded.mkdir()
        if self._rabbit is not None:
            with self._rabbit.connect() as line:
                line.channel().queue_delete(QUEUE)

    def send(self, contestant: Contestant, task: str, count: int) -> Any:
        """Send tasks with the contestant's own producer; return what apps/send.py says."""
        words = [sys.executable, "-m", "benchmarks.apps.send", contestant.product, task, str(count)]
        said = subprocess.run(
            words, env=self.env(contestant), cwd=ROOT, stdout=subprocess.PIPE, check=True
        )
        return json.loads(said.stdout)

    @contextmanager
    def worker(self, contestant: Contestant) -> Iterator[psutil.Process]:
        """Run the contestant's worker meanwhile; it is told to stop, and waited for."""
        with open(self.folder / "worker.log", "wb") as log:
            worker = psutil.Popen(
                contestant.command(),
                env=self.env(contestant),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield worker
        finally:
            family = [worker, *worker.children(recursive=True)]
            worker.terminate()
            for late in psutil.wait_procs(family, timeout=30)[1]:
                late.kill()

    @contextmanager
    def idle_worker(self, contestant: Contestant) -> Iterator[psutil.Process]:
        """Run the contestant's worker meanwhile, once it has shown that it works."""
        with self.worker(contestant) as worker:
            self.send(contestant, "answer", 5)
            yield worker

    def gauge(self, contestant: Contestant) -> Gauge:
        """Return what tells how many messages the contestant has not acknowledged."""
        return RedisGauge(self.redis) if contestant.broker == "redis" else Gauge(self, contestant)

    def complaint(self) -> str:
        """Return the end of the last worker's log."""
        return (self.folder / "worker.log").read_text(errors="replace")[-2000:]


class Gauge:
    """Reads how many messages wait or are unacknowledged."""

    #: Seconds between two looks: rare enough to cost the contestant nothing that shows.
    every = 0.02

    def __init__(self, stand: Stand, contestant: Contestant) -> None:
        self.broker = open_broker(stand.url(contestant))
        self.broker.open()

    def read(self) -> int:
        """Return the number now."""
        stats = [stat for stat in self.broker.queues() if stat.name == QUEUE]
        return sum(stat.ready + stat.unacked for stat in stats)

    def close(self) -> None:
        """Let go of the broker."""
        self.broker.close()


class RedisGauge(Gauge):
    """The same from Redis, where both products keep the same keys."""

    every = 0.01

    def __init__(self, client: redis.Redis) -> None:
        self.pipeline = client.pipeline(transaction=True)

    def read(self) -> int:
        self.pipeline.llen(QUEUE)
        self.pipeline.hlen("unacked")
        return sum(self.pipeline.execute())

    def close(self) -> None:
        """The client is the stand's."""


def wait_for_quiet() -> None:
    """Wait until the machine has nothing else to do; go on, and say so, if it always has."""
    psutil.cpu_percent()
    try:
        eventually(lambda: psutil.cpu_percent(interval=0.5) < QUIET_PERCENT, within=QUIET_WITHIN)
    except AssertionError:
        print(f"the machine is busy: {psutil.cpu_percent(interval=1)} %", file=sys.stderr)


def now() -> float:
    """Return the time all durations are taken with."""
    return time.perf_counter()
