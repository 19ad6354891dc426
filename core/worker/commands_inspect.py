"""What a node answers when it is asked: the methods of `inspect`.

Names, replies and texts are Celery's; a reply may have more keys.
"""

from __future__ import annotations

import gc
import importlib
import logging
import resource
import tempfile
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..messaging.consumer import Delivery
from ..wire import codecs
from ..wire.task_message import decode_task
from .footprint import Samples, memory
from .request import Request
from .stacks import stacks

if TYPE_CHECKING:
    from .worker import Worker

log = logging.getLogger("taskctl.worker")

#: Priority that Celery reports for a task waiting for its ETA.
_ETA_PRIORITY = 6


class Answers:
    """The questions one worker answers."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._samples = Samples()

    # --- tasks ---------------------------------------------------------------------------------

    def active(self, safe: bool | None = False, **_: Any) -> list[dict[str, Any]]:
        worker = self.worker
        return [
            self._info(request, safe, running)
            for running in worker.pool.running()
            if (request := worker.requests.get(running.request)) is not None
        ]

    def reserved(self, safe: bool | None = False, **_: Any) -> list[dict[str, Any]]:
        running = {one.request for one in self.worker.pool.running()}
        return [
            self._info(request, safe)
            for number, request in list(self.worker.requests.items())
            if number not in running
        ]

    def scheduled(self, safe: bool | None = False, **_: Any) -> list[dict[str, Any]]:
        entries = []
        for due, envelope in self.worker.consumer.broker.parked():
            info = self._parked_info(envelope, safe)
            when = datetime.fromtimestamp(due, UTC).isoformat()
            entries.append({"eta": when, "priority": _ETA_PRIORITY, "request": info})
        return entries

    def _info(self, request: Request, safe: bool | None, running: Any = None) -> dict[str, Any]:
        worker = self.worker
        return request.info(worker.hostname, worker.accept, safe=bool(safe), running=running)

    def _parked_info(self, envelope: bytes, safe: bool | None) -> dict[str, Any]:
        return self._info(self._unheld(envelope), safe)

    def query_task(self, ids: list[str] | str, **_: Any) -> dict[str, list[Any]]:
        wanted = {ids} if isinstance(ids, str) else set(ids)
        running = {one.request: one for one in self.worker.pool.running()}
        found: dict[str, list[Any]] = {}
        for number, request in list(self.worker.requests.items()):
            if request.id in wanted:
                state = "active" if number in running else "reserved"
                found[request.id] = [state, self._info(request, False, running.get(number))]
        for entry in self.scheduled() if wanted - set(found) else ():
            if entry["request"]["id"] in wanted:
                found.setdefault(entry["request"]["id"], ["scheduled", entry["request"]])
        return found

    def _unheld(self, envelope: bytes) -> Request:
        """Return a request for a message that is not on loan to this node."""
        message = decode_task(envelope)
        task = self.worker.tasks.get(message.headers.task or "")
        return Request(0, Delivery(tag="", queue="", envelope=envelope), message, task)

    def revoked(self, **_: Any) -> list[str]:
        return list(self.worker.revoked)

    def registered(
        self, taskinfoitems: list[str] | str | None = None, builtins: bool = False, **_: Any
    ) -> list[str]:
        wanted = [taskinfoitems] if isinstance(taskinfoitems, str) else taskinfoitems
        names = wanted or ["exchange", "routing_key", "rate_limit"]
        names = [name for name in names if isinstance(name, str) and not name.startswith("_")]
        lines = []
        for name in sorted(self.worker.tasks):
            if name.startswith("celery.") and not builtins:
                continue
            task = self.worker.tasks[name]
            fields = [(n, getattr(task, n, None)) for n in names]
            shown = " ".join(f"{n}={value}" for n, value in fields if value is not None)
            lines.append(f"{name} [{shown}]" if shown else name)
        return lines

    # --- the node ------------------------------------------------------------------------------

    def ping(self, **_: Any) -> dict[str, str]:
        # Who asks reads the registry next: it should say how the node is now.
        self.worker.heart.renew(self.worker.consumer.broker)
        return {"ok": "pong"}

    def clock(self, **_: Any) -> dict[str, int]:
        return {"clock": self.worker.clock.value}

    def active_queues(self) -> list[dict[str, Any]]:
        return [queue.describe() for queue in self.worker.consumer.queues.values()]

    def stats(self, **_: Any) -> dict[str, Any]:
        worker = self.worker
        facts: dict[str, Any] = {
            "total": dict(worker.totals.accepted),
            "pid": worker.pid,
            "clock": str(worker.clock.value),
            "uptime": round(time.monotonic() - worker.started_at),
            "pool": worker.pool.describe(),
            "broker": self._broker(),
            "prefetch_count": worker.window(),
            "rusage": _rusage(),
            "memory": memory(worker.pid, worker.pool.pids()),
        }
        if worker.autoscaler is not None:
            facts["autoscaler"] = worker.autoscaler.info()
        return facts

    def _broker(self) -> dict[str, Any]:
        line = self.worker.line
        facts = self.worker.app.broker_info(self.worker.consumer.connection.url)
        since = time.monotonic() - line.since if line.up else None
        return {**facts, "reconnects": line.reconnects, "connected_seconds": since}

    def report(self) -> dict[str, str]:
        return {"ok": self.worker.app.celery_report()}

    def conf(self, with_defaults: bool = False, **_: Any) -> dict[str, Any]:
        table = self.worker.app.conf.table(with_defaults=with_defaults)
        return {str(key): _plain(value) for key, value in table.items()}

    def hello(
        self, from_node: str, revoked: list[str] | None = None, **_: Any
    ) -> dict[str, Any] | None:
        worker = self.worker
        if from_node == worker.hostname:
            return None
        log.info("hello from %s", from_node)
        worker.revoked.update(revoked or [])
        return {"revoked": self.revoked(), "clock": worker.clock.forward()}

    # --- for whoever looks for a leak or a hang -------------------------------------------------

    def stacks(self, **_: Any) -> dict[str, str]:
        return {"ok": stacks(self.worker)}

    def memsample(self, **_: Any) -> str:
        return self._samples.take()

    def memdump(self, samples: int | None = 10, **_: Any) -> str:
        gc.collect()
        return self._samples.dump(10 if samples is None else int(samples))

    def objgraph(
        self, num: int = 200, max_depth: int = 10, type: str = "Request"
    ) -> dict[str, str]:
        try:
            # Optional, and wanted once in a blue moon.
            graphs = importlib.import_module("objgraph")
        except ImportError:
            raise ImportError("Requires the objgraph library") from None
        log.info("drawing what keeps objects of type %r", type)
        with tempfile.NamedTemporaryFile(prefix="objgraph-", suffix=".png", delete=False) as file:
            found = graphs.by_type(type)[: int(num)]
            graphs.show_backrefs(
                found, max_depth=int(max_depth), highlight=lambda one: one in found,
                filename=file.name,
            )  # fmt: skip
            return {"filename": file.name}


def _rusage() -> dict[str, Any]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {n.removeprefix("ru_"): getattr(usage, n) for n in dir(usage) if n.startswith("ru_")}


def _plain(value: Any) -> Any:
    """Return `value` if JSON can hold it, else its repr."""
    try:
        codecs.json_encode(value)
    except (TypeError, ValueError):
        return repr(value)
    return value
