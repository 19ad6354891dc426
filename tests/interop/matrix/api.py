"""What a case may use: a client of one library, its canvas, and the marks tasks leave."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kombu

from ...support.waiting import eventually
from . import project

_keys = itertools.count()


class Api:
    """A client of `kind`, beside a worker of `worker`, on `broker`."""

    def __init__(self, app: Any, kind: str, worker: str, broker: str, folder: Path) -> None:
        self.app, self.kind, self.worker, self.broker = app, kind, worker, broker
        self.folder = folder
        lib = project.library(kind)
        self.lib = lib
        self.chain, self.chord, self.group = lib.chain, lib.chord, lib.group
        self.exceptions, self.signature = lib.exceptions, lib.signature
        self._gates: list[Path] = []
        #: Starts a worker with one child that takes from the queue of priorities alone.
        self.start_ranks: Callable[[], None] = lambda: None

    def __getattr__(self, name: str) -> Any:
        task = self.app.tasks.get(f"mx.{name}")
        if task is None:
            raise AttributeError(name)
        return task

    def key(self) -> str:
        """Return a word that no other case has."""
        return f"key-{self.kind}-{self.worker}-{self.broker}-{next(_keys)}"

    def get(self, result: Any, within: float = 20.0) -> Any:
        return result.get(timeout=within, interval=0.02)

    def error(self, result: Any, within: float = 20.0) -> str:
        """Return the exception a result holds, as `Name(args)`."""
        value = result.get(timeout=within, interval=0.02, propagate=False)
        if not isinstance(value, BaseException):
            return f"no error but {value!r}"
        return f"{type(value).__name__}{value.args!r}"

    def marks(self, key: str, count: int = 1, within: float = 20.0) -> list[Any]:
        """Return what was marked under `key`, as soon as there are `count` of them."""
        eventually(lambda: len(self._marked(key)) >= count, within=within)
        return [value for value, _ in self._marked(key)]

    def times(self, key: str) -> list[float]:
        return [at for _, at in self._marked(key)]

    def _marked(self, key: str) -> list[tuple[Any, float]]:
        path = self.folder / "marks"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines]
        return [(value, at) for name, value, at in found if name == key]

    def gate(self) -> tuple[str, Callable[[], None]]:
        """Return a path that `hold` waits for, and what makes it."""
        path = self.folder / self.key()
        self._gates.append(path)
        return str(path), path.touch

    def open_gates(self) -> None:
        """Let go of whatever a case still holds."""
        while self._gates:
            self._gates.pop().touch()

    def waiting(self, queue: str) -> int:
        """Return how many messages wait in a queue of RabbitMQ."""
        with kombu.Connection(self.app.conf.broker_url) as connection:
            return connection.default_channel.queue_declare(queue, passive=True).message_count

    def until(self, condition: Callable[[], Any], within: float = 20.0) -> None:
        eventually(condition, within=within)
