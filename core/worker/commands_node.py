"""What a node does to itself when it is told: queues, pool, events, the end.

Names, replies and texts are Celery's; see `commands_tasks` for what replies have beside.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence
from typing import Any

from ..wire.queues import Exchange, Queue
from .commands_tasks import TaskOrders, changed

log = logging.getLogger("taskctl.worker")

#: What `add_consumer` may say of a queue beside its name and binding.
_QUEUE_FIELDS = frozenset(Queue.__struct_fields__) - {"name", "exchange", "routing_key"}


class NodeOrders(TaskOrders):
    """The orders about itself that one worker obeys."""

    # --- queues --------------------------------------------------------------------------------

    def add_consumer(
        self,
        queue: str,
        exchange: str | None = None,
        exchange_type: str | None = None,
        routing_key: str | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        if not isinstance(queue, str) or not queue:
            raise ValueError(f"queue {queue!r}: the name of a queue expected")
        worker = self.worker
        old = list(worker.consumer.queues)
        known = worker.app.known_queue(queue)
        if known is None or exchange is not None:
            fields = {k: v for k, v in options.items() if k in _QUEUE_FIELDS and v is not None}
            known = Queue(
                name=queue,
                exchange=Exchange(name=exchange or queue, type=exchange_type or "direct"),
                routing_key=routing_key or queue,
                **fields,
            )
        if queue not in worker.consumer.queues:
            worker.consumer.add(known)
            log.info("now consuming from queue %r", queue)
        new = list(worker.consumer.queues)
        return changed(f"add consumer {queue}", "queues", old, new)

    def cancel_consumer(self, queue: str, **_: Any) -> dict[str, Any]:
        consumer = self.worker.consumer
        old = list(consumer.queues)
        if queue in consumer.queues:
            consumer.remove(queue)
            log.info("no longer consuming from queue %r", queue)
        return changed(f"no longer consuming from {queue}", "queues", old, list(consumer.queues))

    def quiet(self, **_: Any) -> dict[str, Any]:
        """Take nothing new; what was taken and has not begun goes back to its queue."""
        old, self.worker.quiet = self.worker.quiet, True
        if not old and not self.worker.stopping:
            self.worker.shutdown.give_back_waiting()
            log.warning("told to be quiet: no new tasks are taken until control unquiet")
        return changed("takes no new tasks", "quiet", old, True)

    def unquiet(self, **_: Any) -> dict[str, Any]:
        old, self.worker.quiet = self.worker.quiet, False
        if old:
            log.warning("quiet no longer: new tasks are taken")
        return changed("takes new tasks", "quiet", old, False)

    # --- events --------------------------------------------------------------------------------

    def enable_events(self) -> dict[str, Any]:
        return self._switch_events(True, "enabled")

    def disable_events(self) -> dict[str, Any]:
        return self._switch_events(False, "disabled")

    def _switch_events(self, on: bool, word: str) -> dict[str, Any]:
        events = self.worker.events
        old, events.task_events = events.task_events, on
        if old != on:
            # Who watches reads in the record whether there is anything to hear.
            self.worker.heart.renew(self.worker.consumer.broker)
        already = "already " if old == on else ""
        return changed(f"task events {already}{word}", "task events", old, on)

    def heartbeat(self) -> None:
        self.worker.heart.send(self.worker.consumer.broker, "worker-heartbeat", freq=5.0)

    # --- pool ----------------------------------------------------------------------------------

    def pool_grow(self, n: int = 1, **_: Any) -> dict[str, Any]:
        return self._resize(int(n), "grow")

    def pool_shrink(self, n: int = 1, **_: Any) -> dict[str, Any]:
        return self._resize(-int(n), "shrink")

    def _resize(self, change: int, verb: str) -> dict[str, Any]:
        worker = self.worker
        if worker.autoscaler is not None:
            text = f"pool_{verb} is not supported with autoscale. Adjust autoscale range instead."
            return {"error": text, "detail": "the pool is autoscaled: use autoscale MAX MIN"}
        old, size = worker.pool.size, worker.pool.size + change
        if size < 1:
            return {"error": f"the pool has {old}: at least 1 must stay"}
        worker.pool.resize(size)
        log.info("pool size is now %d, was %d", size, old)
        return changed(f"pool will {verb}", "pool size", old, size)

    def pool_restart(
        self,
        modules: Sequence[str] | None = None,
        reload: bool | None = False,
        reloader: Any = None,
        **_: Any,
    ) -> dict[str, Any]:
        """Replace the children, each when its task has ended; the modules are imported first."""
        worker = self.worker
        if not worker.app.conf.worker_pool_restarts:
            raise ValueError("Pool restarts not enabled")
        if modules is None:
            modules = [*worker.app.conf.include, *worker.app.conf.imports]
        for name in modules:
            known = sys.modules.get(name)
            if known is not None and reload:
                importlib.reload(known)
            else:
                importlib.import_module(name)
        old = worker.pool.pids()
        worker.pool.restart()
        log.warning("pool restart: %d children are replaced as they end their tasks", len(old))
        return {"ok": "reload started", "what": "children", "old": old}

    def autoscale(self, max: int | None = None, min: int | None = None) -> dict[str, Any]:
        autoscaler = self.worker.autoscaler
        if autoscaler is None:
            raise ValueError("Autoscale not enabled")
        old = {"max": autoscaler.high, "min": autoscaler.low}
        high, low = autoscaler.update(max, min)
        new = {"max": high, "min": low}
        return changed(f"autoscale now max={high} min={low}", "autoscale", old, new)

    # --- the end -------------------------------------------------------------------------------

    def shutdown(self, msg: str | None = None, **_: Any) -> dict[str, Any]:
        running = len(self.worker.pool.running())
        log.warning("%s", msg or "shutdown asked for by remote control")
        self.worker.stop_warmly()
        return {"ok": "shutting down", "running": running}
