"""What events say of the fleet: the workers and tasks that were last heard of.

The interface is Celery's (events/state.py of 5.7); the memory it takes is bounded everywhere.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from .event_memory import Recent, TaskIndex
from .event_records import Task as KnownTask
from .event_records import Worker as KnownWorker

#: What fields that we reckon with must be, if they are there.
_KINDS: dict[str, Any] = {
    "hostname": str, "uuid": str, "name": str, "parent_id": str, "root_id": str, "clock": int,
    "timestamp": (int, float), "local_received": (int, float), "freq": (int, float),
    "runtime": (int, float), "traceback": str,
}  # fmt: skip


class State:
    """The fleet as events tell it; hand `event` to a receiver as its handler.

    At most `max_tasks_in_memory` tasks and `max_workers_in_memory` workers are kept; those not
    heard of for longest go first. `callback` sees (state, event) before each event counts;
    `on_node_join` and `on_node_leave` see the worker. `handlers` maps other groups of events
    (the word before the first dash) to functions of (rest of the type, event).

    Safe to use from several threads.
    """

    Worker = KnownWorker
    Task = KnownTask

    def __init__(
        self,
        callback: Callable[[State, dict[str, Any]], Any] | None = None,
        max_workers_in_memory: int = 5000,
        max_tasks_in_memory: int = 10000,
        on_node_join: Callable[[KnownWorker], Any] | None = None,
        on_node_leave: Callable[[KnownWorker], Any] | None = None,
    ) -> None:
        self.event_callback = callback
        self.max_workers_in_memory = max_workers_in_memory
        self.max_tasks_in_memory = max_tasks_in_memory
        self.on_node_join = on_node_join
        self.on_node_leave = on_node_leave
        self.handlers: dict[str, Callable[[str, dict[str, Any]], Any]] = {}
        self.event_count = 0
        self.task_count = 0
        self._set_up(Recent(max_workers_in_memory), Recent(max_tasks_in_memory))

    def _set_up(self, workers: Recent[KnownWorker], tasks: Recent[KnownTask]) -> None:
        self._mutex = threading.RLock()
        self.workers = workers
        self.tasks = tasks
        self.tasks.forget = self._forget
        self.tasks_by_type = TaskIndex(self.tasks_by_time)
        self.tasks_by_worker = TaskIndex(self.tasks_by_time)
        self._orphans: Recent[set[str]] = Recent(self.max_tasks_in_memory)
        for task in tasks.values():
            task.cluster_state = self
            self._index(task)

    # --- events -----------------------------------------------------------------------------

    def event(self, event: dict[str, Any]) -> Any:
        """Take in one event; return ((worker or task, whether it is new), rest of the type).

        Events that lack what makes them one are left out.
        """
        with self._mutex:
            self.event_count += 1
            if self.event_callback is not None:
                self.event_callback(self, event)
            group, _, subject = str(event.get("type")).partition("-")
            if group in self.handlers:
                return self.handlers[group](subject, event), subject
            if not event.get("hostname") or not _is_sound(event):
                return None
            if group == "worker":
                return self._worker_event(subject, event), subject
            if group == "task" and event.get("uuid"):
                return self._task_event(subject, event), subject
            return None

    def task_event(self, type_: str, fields: dict[str, Any]) -> Any:
        """Take in a task event, its type given without `task-`."""
        return self.event({**fields, "type": f"task-{type_}"})[0]

    def worker_event(self, type_: str, fields: dict[str, Any]) -> Any:
        """Take in a worker event, its type given without `worker-`."""
        return self.event({**fields, "type": f"worker-{type_}"})[0]

    def _worker_event(self, subject: str, event: dict[str, Any]) -> tuple[KnownWorker, bool]:
        hostname = event["hostname"]
        known = hostname in self.workers
        worker = self.workers.get(hostname) or self.Worker(hostname)
        worker.event(subject, event.get("timestamp"), event.get("local_received"), event)
        if subject == "offline":
            self.workers.pop(hostname, None)
            if self.on_node_leave is not None:
                self.on_node_leave(worker)
            return worker, False
        self.workers[hostname] = worker
        self.workers.touch(hostname)
        if self.on_node_join is not None and (not known or subject == "online"):
            self.on_node_join(worker)
        return worker, not known

    def _task_event(self, subject: str, event: dict[str, Any]) -> tuple[KnownTask, bool]:
        uuid, hostname = event["uuid"], event["hostname"]
        task, created = self.get_or_create_task(uuid)
        before = (task.name, task.worker)
        if subject == "sent":
            task.client = hostname
        else:
            task.worker, _ = self.get_or_create_worker(hostname)
            task.worker.event(None, event.get("timestamp"), event.get("local_received"))
        if subject == "received":
            self.task_count += 1
        task.event(subject, event.get("timestamp"), event.get("local_received"), event)
        if (task.name, task.worker) != before:
            self._unindex(task, *before)
            self._index(task)
        if created:
            self._adopt(task)
        return task, created

    # --- who is known -----------------------------------------------------------------------

    def get_or_create_worker(self, hostname: str, **fields: Any) -> tuple[KnownWorker, bool]:
        """Return a worker, and whether it is new."""
        with self._mutex:
            worker = self.workers.get(hostname)
            if worker is not None:
                worker.update(fields)
                self.workers.touch(hostname)
                return worker, False
            worker = self.workers[hostname] = self.Worker(hostname, **fields)
            return worker, True

    def get_or_create_task(self, uuid: str) -> tuple[KnownTask, bool]:
        """Return a task, and whether it is new."""
        with self._mutex:
            task = self.tasks.get(uuid)
            if task is not None:
                self.tasks.touch(uuid)
                return task, False
            task = self.tasks[uuid] = self.Task(uuid, cluster_state=self)
            return task, True

    def _index(self, task: KnownTask) -> None:
        self.tasks_by_type.add(task.name, task)
        self.tasks_by_worker.add(task.worker.hostname if task.worker else None, task)

    def _unindex(self, task: KnownTask, name: str | None, worker: KnownWorker | None) -> None:
        self.tasks_by_type.drop(name, task)
        self.tasks_by_worker.drop(worker.hostname if worker else None, task)

    def _adopt(self, task: KnownTask) -> None:
        """Bring parent and children together, whichever is heard of first."""
        uuid = str(task.uuid)
        if task.parent_id:
            parent = self.tasks.get(task.parent_id)
            if parent is not None:
                parent.child_ids.add(uuid)
            else:
                waiting = self._orphans.get(task.parent_id, set())
                waiting.add(uuid)
                self._orphans[task.parent_id] = waiting
        task.child_ids |= self._orphans.pop(uuid, set())

    def _forget(self, task: KnownTask) -> None:
        self._unindex(task, task.name, task.worker)
        parent_id = task.parent_id or ""
        parent = self.tasks.get(parent_id)
        ids = self._orphans.get(parent_id) if parent is None else parent.child_ids
        if ids is not None:
            ids.discard(str(task.uuid))
            if not ids:
                self._orphans.pop(parent_id, None)

    # --- looking ----------------------------------------------------------------------------

    def itertasks(self, limit: int | None = None) -> Iterator[tuple[str, KnownTask]]:
        """Yield (uuid, task), those heard of long ago first."""
        with self._mutex:
            pairs = list(self.tasks.items())
        yield from pairs[: limit or None]

    def tasks_by_time(
        self, limit: int | None = None, reverse: bool = True
    ) -> Iterator[tuple[str, KnownTask]]:
        """Yield (uuid, task) by logical clock and time of the last event, the latest first."""
        with self._mutex:
            pairs = list(self.tasks.items())
        pairs.sort(key=lambda p: (p[1].clock or 0, p[1].timestamp or 0.0), reverse=reverse)
        yield from pairs[:limit]

    tasks_by_timestamp = tasks_by_time

    def task_types(self) -> list[str]:
        """Return the names of the tasks that are known, sorted."""
        with self._mutex:
            return sorted(self.tasks_by_type)

    def alive_workers(self) -> Iterator[KnownWorker]:
        """Yield the workers that were heard of lately."""
        with self._mutex:
            workers = list(self.workers.values())
        yield from (worker for worker in workers if worker.alive)

    # --- forgetting -------------------------------------------------------------------------

    def freeze_while(
        self, fun: Callable[..., Any], *args: Any, clear_after: bool = False, **kwargs: Any
    ) -> Any:
        """Return `fun(...)`, during which no event counts; then forget, if `clear_after`."""
        with self._mutex:
            try:
                return fun(*args, **kwargs)
            finally:
                if clear_after:
                    self.clear()

    def clear(self, ready: bool = True) -> None:
        """Forget workers and tasks; with `ready` tasks that have not ended stay."""
        with self._mutex:
            self.workers.clear()
            self.event_count = self.task_count = 0
            self.clear_tasks(ready)

    def clear_tasks(self, ready: bool = True) -> None:
        """Forget tasks; with `ready` those that have not ended stay."""
        with self._mutex:
            kept = [t for t in self.tasks.values() if ready and not t.ready]
            self.tasks.clear()
            self.tasks_by_type.clear()
            self.tasks_by_worker.clear()
            self._orphans.clear()
            for task in kept:
                self.tasks[str(task.uuid)] = task
                self._index(task)

    def __repr__(self) -> str:
        return f"<State: events={self.event_count} tasks={self.task_count}>"

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_mutex", "tasks_by_type", "tasks_by_worker", "_orphans")
        return {name: v for name, v in self.__dict__.items() if name not in left_out}

    def __setstate__(self, facts: dict[str, Any]) -> None:
        self.__dict__.update(facts)
        self._set_up(facts["workers"], facts["tasks"])


def _is_sound(event: dict[str, Any]) -> bool:
    """Return whether the fields that we reckon with can be what they say."""
    return all(
        value is None or isinstance(value, _KINDS[name])
        for name, value in event.items()
        if name in _KINDS
    )
