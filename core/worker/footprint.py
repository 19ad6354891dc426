"""How much memory processes take, and samples of it, as Celery's debugging commands tell them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import NamedTuple

_PROC = sys.platform.startswith("linux")
if not _PROC:
    # 30 ms that a worker need not pay where there is /proc.
    import psutil  # type: ignore[import-untyped, unused-ignore]

#: Units of sizes as Celery writes them (celery.utils.debug.UNITS).
_UNITS = ((2**40, "TB"), (2**30, "GB"), (2**20, "MB"), (2**10, "KB"))


class Footprint(NamedTuple):
    """Bytes of one process in memory now, and at most so far; what is shared counts in each."""

    now: int = 0
    peak: int = 0


def footprint(pid: int) -> Footprint:
    """Return what a process takes; nothing if it is over."""
    if not _PROC:
        return _psutil_footprint(pid)
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            lines = dict(line.split(b":", 1) for line in file if b":" in line)
    except OSError:
        return Footprint()
    # proc(5): in KiB; kernel threads and zombies have none.
    now, peak = (int(lines.get(key, b"0 kB").split()[0]) * 1024 for key in (b"VmRSS", b"VmHWM"))
    return Footprint(now, peak)


def memory(parent: int, children: Iterable[int]) -> dict[str, int]:
    """Return the `memory` part of a stats reply, in bytes; `peak` sums what each had at most."""
    own = footprint(parent)
    others = [footprint(pid) for pid in children if pid != parent]
    return {
        "parent": own.now,
        "children": sum(one.now for one in others),
        "peak": own.peak + sum(one.peak for one in others),
    }


class Samples:
    """The memory of this process, looked at when somebody asked."""

    def __init__(self) -> None:
        self._taken: list[str] = []

    def take(self) -> str:
        """Return the memory now, and remember it."""
        self._taken.append(_human(footprint(os.getpid()).now))
        return self._taken[-1]

    def dump(self, count: int) -> str:
        """Return up to `count` samples spread over those taken, and the memory now; forget them."""
        taken, self._taken = self._taken, []
        step = max(1, len(taken) // count) if count > 0 else 1
        lines = [f"-    > {one}," for one in taken[::step][: max(0, count)]]
        head = ["- rss (sample):"] if lines else []
        return "\n".join([*head, *lines, f"- rss (end): {_human(footprint(os.getpid()).now)}.", ""])


def _human(size: int) -> str:
    """Return a size as `60.102MB`: five digits, in the largest unit that fits."""
    for unit, name in _UNITS:
        if size >= unit:
            return f"{size / unit:.5g}{name}"
    return f"{size}b"


def _psutil_footprint(pid: int) -> Footprint:
    try:
        found = psutil.Process(pid).memory_info()
    except psutil.Error:
        return Footprint()
    return Footprint(found.rss, getattr(found, "peak_wset", found.rss))
