"""What the checks look at: the app, the broker and the fleet, each asked once."""

from __future__ import annotations

import functools
import json
import shlex
import time
from collections.abc import Iterable
from typing import Any

from taskctl.apps import client_app, user_app
from taskctl.context import Context
from taskctl.core.app import App
from taskctl.core.errors import AppNotFound, TaskctlError
from taskctl.core.redact import mask
from taskctl.core.remote.cluster import Answer, NodeRecord
from taskctl.remote import content, error_of

#: Messages of one queue that are looked at for tasks nobody knows.
_PEEKED = 50


class Patient:
    """One installation under examination; every fact is fetched when it is first asked for."""

    def __init__(self, context: Context, timeout: float) -> None:
        self.context = context
        self.timeout = timeout
        self.imported = False
        self._app: App | None = None

    @property
    def prefix(self) -> str:
        """The options a cure must repeat to speak of the same app and broker."""
        words = []
        for option, name in (("-A", "app"), ("-b", "broker"), ("--config", "config")):
            given = self.context.options.get(name)
            if given and mask(str(given)) == str(given):
                words += [option, str(given)]
        return shlex.join(words)

    # -- the app

    def load_app(self) -> tuple[App, float]:
        """Import the user's app and its tasks; return it and how long that took.

        If it cannot be imported, but the broker is known without it, the later checks go on.
        """
        began = time.monotonic()
        try:
            app = user_app(self.context)
            app.import_default_modules()
            app.finalize()
        except (TaskctlError, AppNotFound):
            self._app = self._stand_in()
            raise
        self._app, self.imported = app, True
        return app, time.monotonic() - began

    def _stand_in(self) -> App | None:
        try:
            return client_app(self.context)
        except TaskctlError:
            return None

    @property
    def has_app(self) -> bool:
        """Whether there is an app to ask the broker with."""
        return self._app is not None

    @property
    def app(self) -> App:
        """The app, or one that stands in for it."""
        assert self._app is not None
        return self._app

    # -- the broker

    @functools.cached_property
    def server(self) -> dict[str, Any]:
        """What the broker's server says of itself."""
        return self.app.shared_connection().call(lambda broker: broker.diagnose())

    @functools.cached_property
    def queues(self) -> list[Any]:
        """The numbers of every task queue."""
        return self.app.shared_connection().call(lambda broker: broker.queues())

    @functools.cached_property
    def paused(self) -> dict[str, float]:
        """The paused queues, and since when."""
        return self.app.shared_connection().call(lambda broker: broker.paused())

    def waiting_tasks(self, queue: str) -> list[tuple[str, str]]:
        """Return (task, id) of the messages next in a queue; what cannot be read is left out."""
        envelopes = self.app.shared_connection().call(lambda broker: broker.peek(queue, _PEEKED))
        found = []
        for envelope in envelopes:
            try:
                headers = json.loads(envelope)["headers"]
                found.append((str(headers["task"]), str(headers.get("id"))))
            except (ValueError, TypeError, KeyError):
                continue
        return found

    def dead_letters(self, queue: str) -> list[dict[str, Any]]:
        """Return the facts of burial of the first dead letters."""
        envelopes = self.app.shared_connection().call(lambda broker: broker.peek(queue, _PEEKED))
        found = []
        for envelope in envelopes:
            try:
                headers = json.loads(envelope)["headers"]
                found.append({"task": headers.get("task"), **headers.get("taskctl-dead", {})})
            except (ValueError, TypeError, KeyError, AttributeError):
                continue
        return found

    # -- the fleet

    @functools.cached_property
    def answer(self) -> Answer:
        """Who answers, and which queues each takes from."""
        return self.app.control.cluster.ask("active_queues", timeout=min(1.0, self.timeout / 2))

    @functools.cached_property
    def records(self) -> list[NodeRecord]:
        """What registered nodes last said of themselves."""
        return self.app.control.cluster.nodes(self.timeout)

    @functools.cached_property
    def consumers(self) -> dict[str, list[str]]:
        """The nodes that take from each queue: those that answer, or whose lease holds."""
        taking: dict[str, set[str]] = {}
        for node in self.records:
            if node.alive:
                _note(taking, node.record.get("queues") or (), node.name)
        for reply in self.answer.replies:
            if error_of(reply.value) is None:
                named = (q.get("name") for q in content(reply.value) or () if isinstance(q, dict))
                _note(taking, (str(name) for name in named if name), reply.node)
        return {queue: sorted(nodes) for queue, nodes in taking.items()}


def _note(taking: dict[str, set[str]], queues: Iterable[str], node: str) -> None:
    for queue in queues:
        taking.setdefault(queue, set()).add(node)
