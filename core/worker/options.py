"""What a worker is told at its start: command line over settings, checked and made whole."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from ..clock import maybe_seconds
from ..errors import ImproperlyConfigured
from ..health import EVERY
from ..templates import node_name
from ..wire.queues import Exchange, Queue
from .autoscaler import parse_autoscale
from .listener import Address

#: Coroutines in each child of the asyncio pool, if nobody says how many.  They wait most of the
#: time, so that processors are no measure.
COROUTINES = 100


@dataclass
class WorkerOptions:
    """Everything a Worker needs to know that is not in its app.

    Seconds are floats; None means no limit.  `prefetch` is "auto" or messages a child (0: no
    limit).  `concurrency` is how many tasks run at once; of the asyncio pool `children` processes
    run them, of the others each child one.  `autoscale` is (most, fewest) tasks at once.
    """

    hostname: str
    queues: list[Queue]
    concurrency: int
    pool: str = "prefork"
    children: int = 1
    prefetch: int | str = "auto"
    max_tasks: int | None = None
    max_memory_kib: int | None = None
    hard: float | None = None
    soft: float | None = None
    task_events: bool = False
    heartbeat: bool = True
    gossip: bool = True
    mingle: bool = True
    heartbeat_interval: float = 2.0
    autoscale: tuple[int, int] | None = None
    purge: bool = False
    shutdown_timeout: float | None = None
    soft_shutdown_timeout: float = 0.0
    statedb: str | None = None
    #: Where the health file goes and whether the node must not start without it; how often (s) it
    #: is written.
    health_file: str | None = None
    health_required: bool = False
    health_every: float = EVERY
    health_listen: Address | None = None
    metrics_listen: Address | None = None
    extras: dict[str, Any] = field(default_factory=dict)
    #: What `resolve` was asked for, and the names of what it worked out.
    given: dict[str, Any] | None = None
    resolved: tuple[str, ...] = ()


def resolve(app: Any, **given: Any) -> WorkerOptions:
    """Return the options of one worker; what is not `given` (or None) comes from the settings.

    Names are those of the command line with underscores: hostname, queues, exclude_queues,
    concurrency, pool, prefetch_multiplier, max_tasks_per_child, max_memory_per_child, time_limit,
    soft_time_limit, task_events, without_heartbeat, without_gossip, without_mingle,
    heartbeat_interval, autoscale, purge, shutdown_timeout, children.

    Raises ImproperlyConfigured naming what is wrong.
    """
    conf = app.conf

    def choose(name: str, setting: str) -> Any:
        value = given.get(name)
        return conf[setting] if value is None else value

    autoscale = given.get("autoscale")
    limits = parse_autoscale(autoscale) if isinstance(autoscale, str) else autoscale
    pool = str(choose("pool", "worker_pool"))
    children = _children(choose("children", "worker_asyncio_children"), pool, given)
    concurrency = _concurrency(choose("concurrency", "worker_concurrency"), pool) * children
    prefetch = choose("prefetch_multiplier", "worker_prefetch_multiplier")
    if prefetch != "auto" and int(prefetch) < 0:
        raise ImproperlyConfigured(
            f"worker_prefetch_multiplier must be 0 or more, got {prefetch} (0 means no limit)"
        )
    if conf.worker_disable_prefetch:
        prefetch = 1
    hard = maybe_seconds(choose("time_limit", "task_time_limit"))
    soft = maybe_seconds(choose("soft_time_limit", "task_soft_time_limit"))
    if hard is not None and soft is not None and soft > hard:
        raise ImproperlyConfigured(
            f"task_soft_time_limit ({soft:g} s) must not be above task_time_limit ({hard:g} s)"
        )
    hostname = node_name(given.get("hostname") or "celery@%h")
    queues = app.select_queues(given.get("queues"), given.get("exclude_queues"))
    if conf.worker_direct:
        queues = [*queues, direct_queue(hostname)]
    found = dict(
        hostname=hostname,
        queues=queues,
        concurrency=_first_size(pool, concurrency, limits),
        pool=pool,
        children=children,
        prefetch=prefetch if prefetch == "auto" else int(prefetch),
        max_tasks=choose("max_tasks_per_child", "worker_max_tasks_per_child"),
        max_memory_kib=choose("max_memory_per_child", "worker_max_memory_per_child"),
        hard=hard,
        soft=soft,
        task_events=bool(choose("task_events", "worker_send_task_events")),
        heartbeat=not given.get("without_heartbeat"),
        gossip=not given.get("without_gossip"),
        mingle=not given.get("without_mingle"),
        heartbeat_interval=float(given.get("heartbeat_interval") or 2.0),
        autoscale=limits,
        purge=bool(given.get("purge")),
        shutdown_timeout=maybe_seconds(choose("shutdown_timeout", "worker_shutdown_timeout")),
        soft_shutdown_timeout=maybe_seconds(conf.worker_soft_shutdown_timeout) or 0.0,
    )
    return WorkerOptions(**found, given=given, resolved=tuple(found))


def direct_queue(node: str) -> Queue:
    """Return the queue that one node alone takes from: what is sent to it, that node runs.

    Named and bound as Celery 5.7 utils/nodenames.py: worker_direct.
    """
    return Queue(name=f"{node}.dq2", exchange=Exchange(name="C.dq2"), routing_key=node)


def _first_size(pool: str, wanted: int, limits: tuple[int, int] | None) -> int:
    """Return how many children to begin with: under autoscale the fewest, as Celery does."""
    if limits is None:
        return wanted
    high, low = limits
    return high if pool == "threads" else max(1, low)


def _concurrency(value: Any, pool: str) -> int:
    """Return how many children; None is one a processor, "auto" heeds the control group.

    For the asyncio pool: how many coroutines in each of its children.
    """
    if pool == "solo":
        return 1
    if pool == "asyncio" and value in (None, 0, "auto"):
        return COROUTINES
    if not value:
        return os.cpu_count() or 1
    if value == "auto":
        return available_processors()
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise ImproperlyConfigured(f"-c {value}: whole number or 'auto' expected") from None
    if number < 1:
        raise ImproperlyConfigured(f"-c {value}: at least 1 child is needed")
    return number


def _children(value: int, pool: str, given: dict[str, Any]) -> int:
    """Return how many child processes share the coroutines of the asyncio pool."""
    if pool != "asyncio":
        if given.get("children"):
            raise ImproperlyConfigured(
                f"--children is for the asyncio pool; of the {pool} pool -c is their number"
            )
        return 1
    if value < 1:
        raise ImproperlyConfigured(f"--children {value}: at least 1 child is needed")
    return int(value)


def available_processors() -> int:
    """Return how many processors this process may use: affinity, and the quota of its group."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        if quota != "max":
            count = min(count or 1, -(-int(quota) // int(period)))
    except (OSError, ValueError):
        return count or 1  # no control group of the second kind
    return max(1, count or 1)
