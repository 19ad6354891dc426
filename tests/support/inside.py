"""`taskctl` called inside this process, against a broker that a test has filled: no start-up."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from taskctl import App
from taskctl.core.wire.message import Publication
from taskctl.program import run

from .shell import Said


class Desk:
    """One broker, an app that talks to it, and the program in front of it."""

    def __init__(self, url: str, capture: pytest.CaptureFixture[str]) -> None:
        self.url = url
        self.capture = capture
        self.app = App("desk", broker=url, backend=url, set_as_current=False)

    def run(self, *words: str) -> Said:
        """Call the program with this broker, in pipes."""
        self.capture.readouterr()
        code = run(["-b", self.url, "--result-backend", self.url, *words])
        out, err = self.capture.readouterr()
        return Said(code, out, err)

    def items(self, *words: str) -> list[dict[str, Any]]:
        """Call the program for JSON; return its items."""
        said = self.run(*words, "-j")
        assert said.code == 0, said.err
        found: list[dict[str, Any]] = said.json["items"]
        return found

    def send(self, task: str = "t", *args: Any, **options: Any) -> str:
        """Send a task; return its id."""
        return str(self.app.send_task(task, args, **options).id)

    def put(self, queue: str, *envelopes: bytes) -> None:
        """Put messages on a queue as they are."""
        self.broker.publish(
            [Publication(exchange="", routing_key=queue, envelope=one) for one in envelopes]
        )

    def ids(self, queue: str) -> list[str]:
        """Return the task ids that wait in a queue, in order."""
        return [json.loads(one)["headers"]["id"] for one in self.broker.peek(queue, 1000)]

    @property
    def broker(self) -> Any:
        return self.app.shared_connection().broker

    def node(self, name: str = "w1@h", **record: Any) -> None:
        """Register a node that says this of itself, and lives for a minute."""
        broker = self.app.connection().open()
        broker.owner = f"{name}#test"
        broker.register(name, {"queues": ["celery"], "state": "ok", **record}, 60.0)

    def close(self) -> None:
        self.app.close()


MakeDesk = Callable[[str], Desk]
