"""The node's side of remote control: one method for each command of the vocabulary.

A method takes the command's arguments by name and returns the value of the reply; names, replies
and texts are Celery's.  What it raises becomes `{"error": repr}`.
"""

from __future__ import annotations

import logging
import resource
import signal
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..errors import BackendError, BrokerConnectionError, ImproperlyConfigured
from ..messaging.consumer import Delivery
from ..remote.vocabulary import find
from ..tasks.joining import read_meta
from ..wire import codecs, states
from ..wire.command_message import CommandRequest
from ..wire.queues import Exchange, Queue
from ..wire.task_message import decode_task
from .request import Request

if TYPE_CHECKING:
    from .worker import Worker

log = logging.getLogger("taskctl.worker")

#: Stored states a revoke may turn into REVOKED (Celery 5.7): the task has not begun.
_REVOCABLE = frozenset({states.PENDING, states.RECEIVED, states.RETRY, states.REJECTED})
#: Priority that Celery reports for a task waiting for its ETA.
_ETA_PRIORITY = 6


class Commands:
    """Obeys remote commands for one worker."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def obey(self, request: CommandRequest) -> Any:
        """Return the reply value of a request; never raises but for a lost broker."""
        command = find(request.method)
        method = None if command is None else getattr(self, command.name, None)
        if command is None or method is None:
            log.error("unknown remote command %r", request.method)
            return {"error": repr(KeyError(request.method))}
        arguments = {k: v for k, v in request.arguments.items() if v is not None}
        try:
            return method(**arguments)
        except BrokerConnectionError:
            raise
        except Exception as exc:
            log.warning("remote command %s failed: %r", request.method, exc)
            # Celery's commands are functions: an unexpected argument is told without our class.
            return {"error": repr(exc).replace(f"{type(self).__name__}.", "")}

    # --- inspect -------------------------------------------------------------------------------

    def ping(self, **_: Any) -> dict[str, str]:
        # Who asks reads the registry next: it should say how the node is now.
        self.worker.heart.renew(self.worker.consumer.broker)
        return {"ok": "pong"}

    def clock(self, **_: Any) -> dict[str, int]:
        return {"clock": self.worker.clock.value}

    def active(self, safe: bool = False, **_: Any) -> list[dict[str, Any]]:
        worker = self.worker
        return [
            self._info(request, safe, running)
            for running in worker.pool.running()
            if (request := worker.requests.get(running.request)) is not None
        ]

    def reserved(self, safe: bool = False, **_: Any) -> list[dict[str, Any]]:
        running = {one.request for one in self.worker.pool.running()}
        return [
            self._info(request, safe)
            for number, request in list(self.worker.requests.items())
            if number not in running
        ]

    def scheduled(self, safe: bool = False, **_: Any) -> list[dict[str, Any]]:
        entries = []
        for due, envelope in self.worker.consumer.broker.parked():
            info = self._parked_info(envelope, safe)
            when = datetime.fromtimestamp(due, UTC).isoformat()
            entries.append({"eta": when, "priority": _ETA_PRIORITY, "request": info})
        return entries

    def _info(self, request: Request, safe: bool, running: Any = None) -> dict[str, Any]:
        worker = self.worker
        return request.info(worker.hostname, worker.accept, safe=safe, running=running)

    def _parked_info(self, envelope: bytes, safe: bool) -> dict[str, Any]:
        return self._info(self._unheld(envelope), safe)

    def revoked(self, **_: Any) -> list[str]:
        return list(self.worker.revoked)

    def registered(
        self, taskinfoitems: list[str] | None = None, builtins: bool = False, **_: Any
    ) -> list[str]:
        names = taskinfoitems or ["exchange", "routing_key", "rate_limit"]
        if any(name.startswith("_") for name in names):
            raise ValueError("private attributes are not shown")
        lines = []
        for name in sorted(self.worker.tasks):
            if name.startswith("celery.") and not builtins:
                continue
            task = self.worker.tasks[name]
            fields = [(n, getattr(task, n, None)) for n in names]
            shown = " ".join(f"{n}={value}" for n, value in fields if value is not None)
            lines.append(f"{name} [{shown}]" if shown else name)
        return lines

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
            "broker": worker.app.broker_info(worker.consumer.connection.url),
            "prefetch_count": worker.window(),
            "rusage": _rusage(),
        }
        if worker.autoscaler is not None:
            facts["autoscaler"] = worker.autoscaler.info()
        return facts

    def report(self) -> dict[str, str]:
        return {"ok": self.worker.app.bugreport()}

    def conf(self, with_defaults: bool = False, **_: Any) -> dict[str, Any]:
        table = self.worker.app.conf.table(with_defaults=with_defaults)
        return {str(key): _plain(value) for key, value in table.items()}

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

    def hello(
        self, from_node: str, revoked: list[str] | None = None, **_: Any
    ) -> dict[str, Any] | None:
        worker = self.worker
        if from_node == worker.hostname:
            return None
        log.info("hello from %s", from_node)
        worker.revoked.update(revoked or [])
        return {"revoked": self.revoked(), "clock": worker.clock.forward()}

    # --- tasks ---------------------------------------------------------------------------------

    def revoke(
        self,
        task_id: list[str] | str,
        terminate: bool = False,
        signal: str = "SIGTERM",
        **_: Any,
    ) -> dict[str, str]:
        ids = [task_id] if isinstance(task_id, str) else list(task_id)
        worker = self.worker
        worker.revoked.update(ids)
        running = self._running(ids)
        self._drop_waiting(set(ids) - set(running))
        if not terminate:
            log.info("tasks flagged as revoked: %s", ", ".join(ids))
            return {"ok": f"tasks {set(ids)!r} flagged as revoked"}
        signum = _signal_number(signal)
        for request in running.values():
            request.terminated = signum
            if not worker.pool.kill(request.number, signum):
                request.terminated = None
        killed = [task_id for task_id, request in running.items() if request.terminated]
        if not killed:
            return {"ok": "terminate: tasks unknown"}
        log.warning("terminating %s with %s", ", ".join(killed), signal)
        return {"ok": f"terminate: {', '.join(killed)}"}

    def terminate(self, signal: str, task_id: list[str] | str, **_: Any) -> dict[str, str]:
        return self.revoke(task_id, terminate=True, signal=signal)

    def _running(self, ids: list[str]) -> dict[str, Request]:
        worker, wanted = self.worker, set(ids)
        found = (worker.requests.get(one.request) for one in worker.pool.running())
        return {request.id: request for request in found if request and request.id in wanted}

    def _drop_waiting(self, ids: set[str]) -> None:
        """End what waits here or in the broker, and say REVOKED for what has not begun."""
        worker = self.worker
        worker.reconsider(ids)
        dropped = worker.consumer.broker.cancel_parked(ids) if ids else []
        for envelope in dropped:
            request = self._unheld(envelope)
            request.acked = True  # it is gone from the broker already
            worker.settlement.revoked(request, "revoked")
            ids = ids - {request.id}
        unknown = ids - {request.id for request in worker.requests.values()}
        if unknown and worker.backend.persistent:
            try:
                worker.settlement.revoke_unseen(self._revocable(sorted(unknown)))
            except BackendError as exc:
                log.warning("revoked tasks are not marked REVOKED now: %s", exc)

    def _unheld(self, envelope: bytes) -> Request:
        """Return a request for a message that is not on loan to this node."""
        message = decode_task(envelope)
        task = self.worker.tasks.get(message.headers.task or "")
        return Request(0, Delivery(tag="", queue="", envelope=envelope), message, task)

    def _revocable(self, ids: list[str]) -> list[str]:
        """Return those whose stored state says that they have not begun."""
        app = self.worker.app
        stored = self.worker.backend.load(ids)
        states_of = {task_id: read_meta(app, meta)["status"] for task_id, meta in stored.items()}
        return [i for i in ids if states_of.get(i, states.PENDING) in _REVOCABLE]

    def rate_limit(self, task_name: str, rate_limit: str | float = 0, **_: Any) -> dict[str, str]:
        worker = self.worker
        if task_name not in worker.tasks:
            return {"error": "unknown task"}
        limit = None if str(rate_limit).strip() in ("", "0", "0.0", "None") else rate_limit
        try:
            worker.scheduler.limit(task_name, limit)
        except ImproperlyConfigured as exc:
            return {"error": f"Invalid rate limit string: {exc}"}
        worker.tasks[task_name].rate_limit = limit
        log.info("rate limit of %s is now %s", task_name, limit or "none")
        if limit is None:
            return {"ok": "rate limit disabled successfully"}
        return {"ok": "new rate limit set successfully"}

    def time_limit(
        self, task_name: str, soft: float | None = None, hard: float | None = None, **_: Any
    ) -> dict[str, str]:
        task = self.worker.tasks.get(task_name)
        if task is None:
            return {"error": "unknown task"}
        task.soft_time_limit, task.time_limit = soft, hard
        log.info("time limits of %s are now soft=%s hard=%s", task_name, soft, hard)
        return {"ok": "time limits set successfully"}

    # --- queues, pool, node --------------------------------------------------------------------

    def add_consumer(
        self,
        queue: str,
        exchange: str | None = None,
        exchange_type: str = "direct",
        routing_key: str | None = None,
        **options: Any,
    ) -> dict[str, str]:
        worker = self.worker
        known = worker.app.known_queue(queue)
        if known is None or exchange is not None:
            fields = {k: v for k, v in options.items() if k in Queue.__struct_fields__}
            known = Queue(
                name=queue,
                exchange=Exchange(name=exchange or queue, type=exchange_type or "direct"),
                routing_key=routing_key or queue,
                **fields,
            )
        if queue not in worker.consumer.queues:
            worker.consumer.add(known)
            log.info("now consuming from queue %r", queue)
        return {"ok": f"add consumer {queue}"}

    def cancel_consumer(self, queue: str, **_: Any) -> dict[str, str]:
        if queue in self.worker.consumer.queues:
            self.worker.consumer.remove(queue)
            log.info("no longer consuming from queue %r", queue)
        return {"ok": f"no longer consuming from {queue}"}

    def enable_events(self) -> dict[str, str]:
        events = self.worker.events
        if events.task_events:
            return {"ok": "task events already enabled"}
        events.task_events = True
        return {"ok": "task events enabled"}

    def disable_events(self) -> dict[str, str]:
        events = self.worker.events
        if not events.task_events:
            return {"ok": "task events already disabled"}
        events.task_events = False
        return {"ok": "task events disabled"}

    def heartbeat(self) -> None:
        self.worker.heart.send(self.worker.consumer.broker, "worker-heartbeat", freq=5.0)

    def pool_grow(self, n: int = 1, **_: Any) -> dict[str, str]:
        return self._resize(int(n), "pool will grow")

    def pool_shrink(self, n: int = 1, **_: Any) -> dict[str, str]:
        return self._resize(-int(n), "pool will shrink")

    def _resize(self, change: int, text: str) -> dict[str, str]:
        worker = self.worker
        if worker.autoscaler is not None:
            return {"error": "the pool is autoscaled: use autoscale MAX MIN"}
        size = worker.pool.size + change
        if size < 1:
            return {"error": f"the pool has {worker.pool.size}: at least 1 must stay"}
        worker.pool.resize(size)
        log.info("pool size is now %d", size)
        return {"ok": text}

    def autoscale(self, max: int | None = None, min: int | None = None) -> dict[str, str]:
        autoscaler = self.worker.autoscaler
        if autoscaler is None:
            raise ValueError("Autoscale not enabled")
        high, low = autoscaler.update(max, min)
        return {"ok": f"autoscale now max={high} min={low}"}

    def shutdown(self, msg: str = "", **_: Any) -> dict[str, str]:
        log.warning("shutdown asked for by remote control %s", msg)
        self.worker.stop_warmly()
        return {"ok": "shutting down"}


def _signal_number(name: str | int) -> int:
    """Return the number of TERM, SIGTERM or 15.  Raises ValueError."""
    text = str(name).upper()
    if text.isdigit():
        return int(signal.Signals(int(text)))
    try:
        return int(signal.Signals["SIG" + text.removeprefix("SIG")])
    except KeyError:
        raise ValueError(f"unknown signal {name!r}: write TERM, KILL, USR1 or a number") from None


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
