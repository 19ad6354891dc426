"""Pools: what runs work.  Chooses one by name; may import tasks (child alone), wire and ground."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from typing import Any

from ..errors import ImproperlyConfigured
from .base import Pool, PoolError, Running, Serve, Started, Work

__all__ = [
    "NAMES",
    "Pool",
    "PoolError",
    "Running",
    "Serve",
    "Started",
    "Work",
    "make_pool",
    "open_pool",
]

log = logging.getLogger("taskctl.pool")

#: Name as in `--pool`: the sibling's file and class.
_POOLS = {
    "asyncio": ("coroutines", "AsyncioPool"),
    "prefork": ("prefork", "PreforkPool"),
    "processes": ("prefork", "PreforkPool"),
    "solo": ("solo", "SoloPool"),
    "threads": ("threads", "ThreadsPool"),
}
NAMES = ("prefork", "asyncio", "threads", "solo")


def make_pool(
    name: str, size: int, boot: Callable[[int], Serve], *, children: int = 1, **options: Any
) -> Pool:
    """Return the pool of that name, to be opened; `options` are those of `Pool`.

    `children` is for a pool whose children run many at once: how many of them share `size`.
    Raises ImproperlyConfigured for an unknown name.
    """
    if name not in _POOLS:
        choices = f"{', '.join(NAMES[:-1])} or {NAMES[-1]}"
        raise ImproperlyConfigured(f"unknown pool {name!r}: choose {choices}")
    stem, class_name = _POOLS[name]
    kind = getattr(importlib.import_module(f".{stem}", __name__), class_name)
    if name == "asyncio":
        options["children"] = children
    pool: Pool = kind(size, boot, **options)
    if not pool.can_kill and (pool.max_tasks or pool.max_memory_kib):
        log.warning(
            "the %s pool has no children to replace: "
            "max tasks and max memory per child have no effect",
            pool.name,
        )
    return pool


def open_pool(name: str, size: int, boot: Callable[[int], Serve], **options: Any) -> Pool:
    """Return the pool of that name, open.

    Raises ImproperlyConfigured for an unknown name, PoolError when it cannot start.
    """
    pool = make_pool(name, size, boot, **options)
    pool.open()
    return pool
