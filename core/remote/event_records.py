"""A worker and a task, each as its events tell of it.

Names, fields and the order in which news counts are Celery's (events/state.py of 5.7).
"""

from __future__ import annotations

import bisect
import logging
import time
from collections.abc import Mapping
from typing import Any

from ..wire import states

log = logging.getLogger("taskctl.events")

#: A worker is gone when nothing was heard of it for so many of its heartbeats.
MISSED = 2
#: Seconds by which a worker's time may differ from ours before we say so.
MAX_DRIFT = 16
#: How many times of receipt are kept of a worker.
_HEARTBEATS = 4

_STATES = {
    "sent": states.PENDING,
    "received": states.RECEIVED,
    "started": states.STARTED,
    "failed": states.FAILURE,
    "retried": states.RETRY,
    "succeeded": states.SUCCESS,
    "revoked": states.REVOKED,
    "rejected": states.REJECTED,
}
#: Fields of a task that its events give as they are; the others are worked out here.
_TOLD = frozenset(
    {
        "name", "args", "kwargs", "eta", "expires", "retries", "result", "exception", "runtime",
        "traceback", "exchange", "routing_key", "clock", "root_id", "parent_id",
    }
)  # fmt: skip
#: What no event may set.
_OURS = frozenset({"uuid", "cluster_state", "child_ids"})


class Worker:
    """A worker as its events tell; `heartbeats` are our times of receipt, the latest last."""

    _fields = (
        "hostname", "pid", "freq", "heartbeats", "clock", "active", "processed", "loadavg",
        "sw_ident", "sw_ver", "sw_sys",
    )  # fmt: skip

    def __init__(
        self,
        hostname: str | None = None,
        pid: int | None = None,
        freq: float = 60,
        heartbeats: list[float] | None = None,
        clock: int = 0,
        active: int | None = None,
        processed: int | None = None,
        loadavg: list[float] | None = None,
        sw_ident: str | None = None,
        sw_ver: str | None = None,
        sw_sys: str | None = None,
    ) -> None:
        self.hostname = hostname
        self.pid = pid
        self.freq = freq
        self.heartbeats = [] if heartbeats is None else heartbeats
        self.clock = clock or 0
        self.active = active
        self.processed = processed
        self.loadavg = loadavg
        self.sw_ident = sw_ident
        self.sw_ver = sw_ver
        self.sw_sys = sw_sys
        self._warned = False

    def event(
        self,
        type_: str | None,
        timestamp: float | None = None,
        local_received: float | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Take in an event of this worker, or of a task of its (`type_` None)."""
        for name in self._fields:
            if fields and name in fields and name != "heartbeats":
                setattr(self, name, fields[name])
        if type_ == "offline":
            self.heartbeats.clear()
        elif timestamp and local_received:
            self._look_at_clock(timestamp, local_received)
            bisect.insort(self.heartbeats, local_received)
            del self.heartbeats[:-_HEARTBEATS]

    def _look_at_clock(self, timestamp: float, local_received: float) -> None:
        drift = abs(local_received - timestamp)
        if drift > MAX_DRIFT and not self._warned:
            self._warned = True
            log.warning("the clock of %s is %.0f s away from ours", self.hostname, drift)

    def update(self, f: Mapping[str, Any], **kw: Any) -> None:
        """Set attributes."""
        for name, value in {**f, **kw}.items():
            setattr(self, name, value)

    @property
    def heartbeat_expires(self) -> float:
        """Unix time at which it counts as gone."""
        return self.heartbeats[-1] + float(self.freq or 0) * MISSED

    @property
    def alive(self) -> bool:
        return bool(self.heartbeats) and time.time() < self.heartbeat_expires

    @property
    def status_string(self) -> str:
        return "ONLINE" if self.alive else "OFFLINE"

    @property
    def id(self) -> str:
        return f"{self.hostname}.{self.pid}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Worker) and self.hostname == other.hostname

    def __hash__(self) -> int:
        return hash(self.hostname)

    def __repr__(self) -> str:
        return f"<Worker: {self.hostname} ({self.status_string} clock:{self.clock})"


class Task:
    """A task as its events tell.

    `received`, `started`, ... are the times (Unix) of the events of that name; what was never
    told is None. `state` is the one that counts, `timestamp` its time.
    """

    _fields = (
        "uuid", "name", "state", "received", "sent", "started", "rejected", "succeeded", "failed",
        "retried", "revoked", "args", "kwargs", "eta", "expires", "retries", "worker", "result",
        "exception", "timestamp", "runtime", "traceback", "exchange", "routing_key", "clock",
        "client", "root", "root_id", "parent", "parent_id", "children",
    )  # fmt: skip
    _info_fields = (
        "args", "kwargs", "retries", "result", "eta", "runtime", "expires", "exception",
        "exchange", "routing_key", "root_id", "parent_id",
    )  # fmt: skip
    #: What an event that comes too late may still tell, by its state; others tell all.
    merge_rules: Mapping[str, tuple[str, ...]] = {
        states.RECEIVED: (
            "name", "args", "kwargs", "parent_id", "root_id", "retries", "eta", "expires",
        ),
    }  # fmt: skip

    name: str | None = None
    received = sent = started = succeeded = failed = retried = revoked = rejected = None
    args = kwargs = eta = expires = retries = result = exception = runtime = traceback = None
    exchange = routing_key = client = None
    timestamp: float | None = None
    root_id: str | None = None
    parent_id: str | None = None
    worker: Worker | None = None
    state: str = states.PENDING
    clock: int = 0

    def __init__(self, uuid: str | None = None, cluster_state: Any = None, **fields: Any) -> None:
        self.uuid = uuid
        self.cluster_state = cluster_state
        self.child_ids: set[str] = set()
        self.__dict__.update(fields)

    def event(
        self,
        type_: str,
        timestamp: float | None = None,
        local_received: float | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Take in an event of this task."""
        news = {name: value for name, value in (fields or {}).items() if self._may_say(name)}
        state = _STATES.get(type_, type_.upper())
        if type_ in _STATES:
            setattr(self, type_, timestamp)
        if self._is_late(state):
            keep = self.merge_rules.get(state)
            if keep is not None:
                news = {name: value for name, value in news.items() if name in keep}
        else:
            news.update(state=state, timestamp=timestamp)
        self.__dict__.update(news)

    def _may_say(self, name: str) -> bool:
        """Whether an event may set this attribute: a field, or what a user's event bears."""
        strange = name.startswith("_") or name in _OURS or hasattr(type(self), name)
        return name in _TOLD or not strange

    def _is_late(self, state: str) -> bool:
        """Whether a state comes before the one we know; after a retry all begins anew."""
        if states.RETRY in (state, self.state):
            return False
        return states.precedence(state) > states.precedence(self.state)

    def info(self, fields: Any = None, extra: Any = ()) -> dict[str, Any]:
        """Return what is known of the chosen fields."""
        names = [*(self._info_fields if fields is None else fields), *(extra or ())]
        found = {name: getattr(self, name, None) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    def as_dict(self) -> dict[str, Any]:
        """Return all fields; other tasks by their ids."""
        facts = {name: getattr(self, name) for name in self._fields}
        facts.update(
            root=self.root_id,
            parent=self.parent_id,
            children=[task.id for task in self.children],
        )
        return facts

    @property
    def id(self) -> str | None:
        return self.uuid

    @property
    def origin(self) -> Any:
        return self.client if self.worker is None else self.worker.id

    @property
    def ready(self) -> bool:
        return self.state in states.READY_STATES

    @property
    def parent(self) -> Task | None:
        return self._other(self.parent_id)

    @property
    def root(self) -> Task | None:
        return self._other(self.root_id)

    @property
    def children(self) -> set[Task]:
        found = (self._other(uuid) for uuid in self.child_ids)
        return {task for task in found if task is not None}

    def _other(self, uuid: str | None) -> Task | None:
        if uuid is None or self.cluster_state is None:
            return None
        found: Task | None = self.cluster_state.tasks.get(uuid)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "cluster_state": None}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Task) and self.uuid == other.uuid

    def __hash__(self) -> int:
        return hash(self.uuid)

    def __repr__(self) -> str:
        return f"<Task: {self.name}({self.uuid}) {self.state} clock:{self.clock}>"
