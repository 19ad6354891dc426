"""`inspect stats` for people: a few lines per node."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from taskctl.tables import number, up

#: How many task names are shown.
_NAMES = 6
#: Unit of `ru_maxrss`, in bytes: getrusage(2) of Linux says KiB, that of macOS bytes.
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


def stats_lines(node: str, stats: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of one node."""
    pool = stats.get("pool") or {}
    kind = str(pool.get("implementation", "?")).rpartition(":")[2].removesuffix("Pool").lower()
    kind = {"task": "prefork"}.get(kind, kind)  # Celery's prefork pool is called TaskPool
    size = pool.get("max-concurrency", "?")
    children = "child" if size == 1 else "children"
    yield (
        f"{node}  pid {stats.get('pid')}, up {up(stats.get('uptime'))}, {kind} {size} {children}, "
        f"prefetch {stats.get('prefetch_count')}"
    )
    yield f"  tasks   {_tasks(stats.get('total') or {})}"
    usage = stats.get("rusage")
    usage = usage if isinstance(usage, Mapping) else {}
    yield f"  memory  {_memory(stats.get('memory'), usage, len(pool.get('processes') or ()))}"
    if usage:
        yield f"  cpu     {usage.get('utime', 0):.1f} s user, {usage.get('stime', 0):.1f} s system"
    yield f"  broker  {_broker(stats.get('broker') or {})}"


def _memory(memory: Mapping[str, int] | None, usage: Mapping[str, Any], children: int) -> str:
    if memory is None:  # a node of Celery's
        return f"parent at most {_mib(usage.get('maxrss', 0) * _RSS_UNIT)}"
    count = f"{children} {'child' if children == 1 else 'children'}"
    own = "" if not memory["children"] else f", {_mib(memory['children'])} in {count}"
    return f"{_mib(memory['parent'])} parent{own}, peak {_mib(memory['peak'])}"


def _mib(size: float) -> str:
    return f"{size / 1024**2:,.0f} MiB"


def _tasks(total: Mapping[str, int]) -> str:
    if not total:
        return "none yet"
    most = sorted(total.items(), key=lambda item: (-item[1], item[0]))
    named = " · ".join(f"{name} {number(count)}" for name, count in most[:_NAMES])
    more = f" · {len(most) - _NAMES} more" if len(most) > _NAMES else ""
    return f"{number(sum(total.values()))}: {named}{more}"


def _broker(broker: Mapping[str, Any]) -> str:
    transport, path = broker.get("transport", "?"), broker.get("virtual_host") or ""
    if broker.get("hostname") is None:
        return f"{transport} {str(path).replace('//', '/', 1)}{_line(broker)}"
    port = f":{broker['port']}" if broker.get("port") else ""
    return f"{transport} {broker['hostname']}{port}/{str(path).lstrip('/')}{_line(broker)}"


def _line(broker: Mapping[str, Any]) -> str:
    """Return how the line to the broker has been; nodes of Celery's do not say it."""
    if "reconnects" not in broker:
        return ""
    count = broker["reconnects"]
    since = broker.get("connected_seconds")
    now = "not connected" if since is None else f"connected {up(since)}"
    return f", {now}, {count} reconnect{'' if count == 1 else 's'}"
