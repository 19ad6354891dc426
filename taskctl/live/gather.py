"""Asks and listens for the live view, in two threads, so that the screen never waits.

One thread asks: the registry, the queues, and each node what it runs. The other hears events. When
the broker is gone both try again; the picture says for how long it has been.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from taskctl.apps import shown_url
from taskctl.commands.status import node_rows
from taskctl.core.app import App
from taskctl.core.errors import BrokerError
from taskctl.core.redact import mask
from taskctl.core.remote.cluster import NodeRecord
from taskctl.core.remote.queues import list_queues
from taskctl.core.remote.shapes import sound

from .rows import Look, Picture, active_row, all_rows, failure_rows, running_rows, unknown_nodes

#: Seconds until a broker that is gone is tried again by the listener.
_AGAIN = 1.0
#: Most failures that are kept in a picture.
_FAILURES = 500

Order = Callable[[], str]


def look(app: App, timeout: float = 1.0) -> Look:
    """Ask broker and nodes once.

    Raises BrokerConnectionError if the broker does not answer.
    """
    cluster = app.control.cluster
    # Asked for a ping, a node refreshes its record; who is silent is waited for once only.
    answer = cluster.ask("ping", timeout=timeout)
    there = sorted({reply.node for reply in answer.replies})
    at = time.time()
    active = _active(app, there, timeout) if there else []
    registered = cluster.nodes(timeout)
    return Look(
        at=at,
        nodes=node_rows(answer, registered),
        queues=list_queues(app.shared_connection(), deadline=timeout),
        active=active,
        answered=len(answer.replies),
        missing=list(answer.missing),
        events=_events(registered),
    )


def _active(app: App, nodes: list[str], timeout: float) -> list[dict[str, Any]]:
    answer = app.control.cluster.ask("active", {"safe": True}, destination=nodes, timeout=timeout)
    at = time.time()
    return [
        active_row(reply.node, mask(request), at)
        for reply in answer.replies
        if isinstance(tasks := sound("active", reply.value), list)
        for request in tasks
    ]


def _events(registered: Sequence[NodeRecord]) -> str | None:
    said = [bool(node.record.get("task_events")) for node in registered if node.alive]
    if not said:
        return None
    return "on" if all(said) else "some" if any(said) else "off"


class Gatherer:
    """What the live view knows; `start` begins, `picture` never waits.

    `everything`: show all tasks that events tell of, not only those that run.
    """

    def __init__(
        self, app: App, *, interval: float = 1.0, timeout: float = 1.0, everything: bool = False
    ) -> None:
        self.app = app
        self.interval = interval
        self.timeout = timeout
        self.everything = everything
        self.state = app.events.State()
        #: What there is to say on the side, until it is read.
        self.messages: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._look = Look()
        self._seen = time.monotonic()
        self._gone = False
        self._stop = threading.Event()
        self._defect: BaseException | None = None
        self._receiver: Any = None
        self._threads = [
            threading.Thread(target=self._guard, args=(part,), name=name, daemon=True)
            for part, name in ((self._ask, "taskctl-ask"), (self._listen, "taskctl-listen"))
        ]

    def start(self) -> None:
        """Look once, then go on in the background.

        Raises BrokerConnectionError if the broker does not answer now.
        """
        self._take(look(self.app, self.timeout))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads, and wait a moment for them to tidy."""
        self._stop.set()
        if self._receiver is not None:
            self._receiver.should_stop = True
        self._orders.put(str)  # wakes the one that asks
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(2 * self.timeout + 1)

    def order(self, order: Order) -> None:
        """Have something done in the background; what it returns becomes a message."""
        self._orders.put(order)

    def picture(self) -> Picture:
        """Return what is known now.  Raises what a thread broke down with, if one did."""
        if self._defect is not None:
            raise self._defect
        now, seen = time.time(), self._look
        tasks = [task for _, task in self.state.itertasks()]
        rows = all_rows if self.everything else running_rows
        gone = time.monotonic() - self._seen if self._gone else None
        return Picture(
            at=now,
            broker=shown_url(self.app.shared_connection().url),
            nodes=seen.nodes if gone is None else unknown_nodes(seen.nodes),
            queues=seen.queues,
            tasks=rows(seen, tasks, now),
            failures=failure_rows(tasks, now)[:_FAILURES],
            gone_seconds=gone,
            events="on" if seen.events is None and tasks else seen.events,
            event_count=self.state.event_count,
        )

    def _guard(self, part: Callable[[], None]) -> None:
        try:
            part()
        except BaseException as exc:  # told by the thread that draws
            self._defect = exc

    # -- the thread that asks

    def _ask(self) -> None:
        due = time.monotonic() + self.interval
        while not self._stop.is_set():
            with contextlib.suppress(queue.Empty):
                self._obey(self._orders.get(timeout=max(0.0, due - time.monotonic())))
                continue
            try:
                self._take(look(self.app, self.timeout))
            except BrokerError:
                self._gone = True
            due = time.monotonic() + self.interval

    def _take(self, seen: Look) -> None:
        self._look, self._seen, self._gone = seen, time.monotonic(), False

    def _obey(self, order: Order) -> None:
        try:
            said = order()
        except BrokerError as exc:
            said = f"error: {exc}"
        if said:
            self.messages.put(said)

    # -- the thread that listens

    def _listen(self) -> None:
        while not self._stop.is_set():
            connection = self.app.connection()
            self._receiver = self.app.events.Receiver(connection, {"*": self.state.event})
            self._receiver.should_stop = self._stop.is_set()
            try:
                self._receiver.capture()
            except BrokerError:
                self._stop.wait(_AGAIN)
            finally:
                connection.close()
