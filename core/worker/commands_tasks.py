"""What a node does to tasks when it is told: the methods of `control` that speak of tasks.

Names, replies and texts are Celery's.  Beside its text the reply of what changes something has
`what` was changed, its `old` and its `new` value.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterable
from typing import Any

from ..errors import BackendError, ImproperlyConfigured
from ..tasks.limiting import Limit, parse_rate
from ..tasks.revoking import revocable
from ..wire.stamp_values import as_stamps, matching
from .commands_inspect import Answers
from .request import Request

log = logging.getLogger("taskctl.worker")

#: Task names in a refusal.
_NAMES = 8


def changed(text: str, what: str, old: Any, new: Any) -> dict[str, Any]:
    """Return the reply of a command that changed something."""
    return {"ok": text, "what": what, "old": old, "new": new}


class TaskOrders(Answers):
    """The orders about tasks that one worker obeys."""

    def revoke(
        self,
        task_id: list[str] | str | None,
        terminate: bool | None = False,
        signal: str | None = None,
        **_: Any,
    ) -> dict[str, str]:
        ids = [task_id] if isinstance(task_id, str) else list(task_id or ())
        worker = self.worker
        signum = _signal_number(signal) if terminate else None
        worker.revoked.update(ids)
        running = {request.id: request for request in self._running() if request.id in ids}
        self._drop_waiting(set(ids) - set(running))
        if signum is None:
            log.info("tasks flagged as revoked: %s", ", ".join(ids))
            return {"ok": f"tasks {set(ids)!r} flagged as revoked"}
        killed = self._kill(running.values(), signum)
        if not killed:
            return {"ok": "terminate: tasks unknown"}
        return {"ok": f"terminate: {', '.join(killed)}"}

    def revoke_by_stamped_headers(
        self,
        headers: dict[str, Any] | list[str],
        terminate: bool | None = False,
        signal: str | None = None,
        **_: Any,
    ) -> dict[str, str]:
        worker = self.worker
        wanted = as_stamps(headers)
        signum = _signal_number(signal)
        worker.revoked_stamps.add(wanted)
        worker.reconsider(lambda request: worker.revoked_stamps.cover(request.headers))
        shown = {key: values[0] if len(values) == 1 else values for key, values in wanted.items()}
        log.info("tasks with stamps %s flagged as revoked", shown)
        if not terminate:
            return {"ok": f"headers {shown} flagged as revoked, but not terminated"}
        doomed = [one for one in self._running() if matching(one.headers, wanted)]
        if not self._kill(doomed, signum):
            return {"ok": f"headers {shown} were not terminated"}
        hit: dict[str, set[Any]] = {}
        for request in doomed:
            for key, values in matching(request.headers, wanted).items():
                hit.setdefault(key, set()).update(values)
        return {"ok": f"headers {hit} revoked"}

    def terminate(
        self, signal: str | None, task_id: list[str] | str | None, **_: Any
    ) -> dict[str, str]:
        return self.revoke(task_id, terminate=True, signal=signal)

    def _running(self) -> list[Request]:
        worker = self.worker
        found = (worker.requests.get(one.request) for one in worker.pool.running())
        return [request for request in found if request is not None]

    def _kill(self, requests: Iterable[Request], signum: int) -> list[str]:
        """Send a signal to the children that run these; return the ids that it reached."""
        killed = []
        for request in requests:
            request.terminated = signum
            if self.worker.pool.kill(request.number, signum):
                killed.append(request.id)
            else:
                request.terminated = None
        if killed:
            log.warning("terminating %s with %s", ", ".join(killed), signal.Signals(signum).name)
        return killed

    def _drop_waiting(self, ids: set[str]) -> None:
        """End what waits here or in the broker, and say REVOKED for what has not begun."""
        worker = self.worker
        worker.reconsider(lambda request: request.id in ids)
        dropped = worker.consumer.broker.cancel_parked(ids) if ids else []
        for envelope in dropped:
            request = self._unheld(envelope)
            request.acked = True  # it is gone from the broker already
            worker.settlement.revoked(request, "revoked")
            ids = ids - {request.id}
        unknown = ids - {request.id for request in worker.requests.values()}
        if unknown and worker.backend.persistent:
            try:
                unseen = revocable(worker.app, sorted(unknown), worker.backend)
                worker.settlement.revoke_unseen(unseen)
            except BackendError as exc:
                log.warning("revoked tasks are not marked REVOKED now: %s", exc)

    def rate_limit(
        self, task_name: str, rate_limit: str | float | None, **_: Any
    ) -> dict[str, Any]:
        worker = self.worker
        try:
            limit = rate_limit if parse_rate(rate_limit) else None
        except ImproperlyConfigured as exc:
            return {"error": f"Invalid rate limit string: {exc}"}
        task = worker.tasks.get(task_name)
        if task is None:
            return self._unknown(task_name)
        old = task.rate_limit or worker.app.conf.task_default_rate_limit
        if isinstance(old, Limit) and worker.scheduler.gates is not None:
            worker.scheduler.gates.change_rate(task, limit)
            task.rate_limit = old if limit is None else old.at(limit)
            old = str(old)
        else:
            worker.scheduler.limit(task_name, limit)
            task.rate_limit = limit
        log.info("rate limit of %s is now %s, was %s", task_name, limit or "none", old or "none")
        done = "rate limit disabled" if limit is None else "new rate limit set"
        return changed(f"{done} successfully", task_name, old or None, limit)

    def time_limit(
        self,
        task_name: str | None = None,
        soft: float | None = None,
        hard: float | None = None,
        **_: Any,
    ) -> dict[str, Any]:
        task = self.worker.tasks.get(task_name or "")
        if task is None:
            return self._unknown(task_name)
        old = {"soft": task.soft_time_limit, "hard": task.time_limit}
        task.soft_time_limit, task.time_limit = soft, hard
        log.info("time limits of %s are now soft=%s hard=%s", task_name, soft, hard)
        new = {"soft": soft, "hard": hard}
        return changed("time limits set successfully", task.name, old, new)

    def _unknown(self, task_name: str | None) -> dict[str, str]:
        """Return Celery's refusal, and beside it what would have been right."""
        log.error("remote control speaks of unknown task %r", task_name)
        names = sorted(name for name in self.worker.tasks if not name.startswith("celery."))
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        has = ", ".join(names[:_NAMES]) + more if names else "none"
        return {"error": "unknown task", "detail": f"unknown task {task_name!r}; has {has}"}

    def election(self, id: str, topic: str, action: Any = None, **_: Any) -> None:
        """Run the action here if this node is elected; see Gossip."""
        self.worker.gossip.elect(id, topic, action)


def _signal_number(name: str | int | None) -> int:
    """Return the number of TERM, SIGTERM or 15; None is TERM.  Raises ValueError."""
    text = str(name or "TERM").upper()
    if text.isdigit():
        return int(signal.Signals(int(text)))
    try:
        return int(signal.Signals["SIG" + text.removeprefix("SIG")])
    except KeyError:
        raise ValueError(f"unknown signal {name!r}: write TERM, KILL, USR1 or a number") from None
