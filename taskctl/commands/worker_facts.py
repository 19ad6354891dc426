"""What a worker says of itself at its start, gathered for the banner, the log and `--check`."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from typing import Any

from taskctl.apps import shown_url
from taskctl.core.app import App
from taskctl.core.clock import maybe_seconds
from taskctl.core.version import __version__
from taskctl.core.worker.options import WorkerOptions
from taskctl.core.worker.worker import Worker


def facts_of(worker: Worker, spec: str | None, waiting: list[Any]) -> dict[str, Any]:
    """Return the facts; `spec` is what `-A` said, `waiting` what `waiting_in` returned."""
    app: App = worker.app
    options = worker.options
    conf, backend = app.conf, app.backend_url()
    origin = conf.origin("broker_url")
    default = origin.kind == "default"
    return {
        "version": __version__,
        "node": options.hostname,
        "pid": os.getpid(),
        "python": platform.python_version(),
        "app": _where(app, spec) if spec else app.main or "default",
        "tasks": sorted(name for name in app.tasks if not name.startswith("celery.")),
        "broker": shown_url(app.broker_url()),
        "broker_from": "default; local disk" if default else origin.where,
        "results": None if backend is None else shown_url(backend),
        "results_kept": maybe_seconds(conf.result_expires),
        "pool": "prefork" if options.pool == "processes" else options.pool,
        "children": options.concurrency,
        "processes": options.children,
        "autoscale": options.autoscale,
        "prefetch": worker.prefetch.room(options.concurrency, 0),
        "soft": options.soft,
        "hard": options.hard,
        "queues": waiting,
    }


def waiting_in(stats: Iterable[Any], options: WorkerOptions) -> list[dict[str, Any]]:
    """Return how much waits in each queue of this worker, and for how long."""
    known = {stat.name: stat for stat in stats}
    found = []
    for queue in options.queues:
        stat = known.get(queue.name)
        found.append(
            {
                "name": queue.name,
                "waiting": stat.ready if stat else 0,
                "oldest": stat.oldest if stat else None,
            }
        )
    return found


def _where(app: App, spec: str) -> str:
    """Return `module:attribute` of the app that `spec` led to."""
    if ":" in spec:
        return spec
    for name in (spec, f"{spec}.celery", f"{spec}.app", spec.rpartition(".")[0]):
        for attribute, value in list(vars(sys.modules.get(name, object)).items()):
            if value is app:
                return f"{name}:{attribute}"
    return spec
