"""The state word of a node, and the reasons for a bad one."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from taskctl.core.pool.base import Running
from taskctl.core.worker.prefetch import Prefetch
from taskctl.core.worker.selfview import LOST_FOR, assess, lost


def worker(*ran: float, hard: float | None = None, **facts: Any) -> Any:
    """Return what `assess` looks at: a node of two slots, at tasks that run so many seconds."""
    running = [
        Running(request=n, pid=1, child=n, since=time.monotonic() - seconds)
        for n, seconds in enumerate(ran)
    ]
    request = SimpleNamespace(type="slow", limits=(hard, None))
    pool = SimpleNamespace(
        name="prefork",
        size=2,
        running=lambda: running,
        pids=lambda: [],
        ready=lambda: facts.get("serving", True),
        trouble=lambda: facts.get("trouble"),
    )
    prefetch = Prefetch("auto")
    prefetch.ran("slow", facts.get("usual", 1.0))
    return SimpleNamespace(
        pool=pool,
        prefetch=prefetch,
        requests={n: request for n in range(len(ran))},
        stopping=facts.get("stopping", False),
        ready=facts.get("ready", True),
        quiet=facts.get("quiet", False),
        settlement=SimpleNamespace(stuck=facts.get("full", False)),
        lost=facts.get("lost", {}),
    )


@pytest.mark.parametrize(
    ("ran", "facts", "state"),
    [
        ((), {}, "ok"),
        ((5.0,), {}, "ok"),
        ((5.0, 6.0), {}, "busy"),
        ((5.0, 6.0), {"quiet": True}, "quiet"),
        ((), {"ready": False, "serving": False, "trouble": "no fork"}, "starting"),
        ((5.0,), {"stopping": True}, "stopping"),
        ((), {"serving": False, "trouble": "no fork"}, "stuck"),
        ((), {"full": True}, "stuck"),
        ((10.0,), {"hard": 5.0}, "stuck"),
        ((5.5,), {"hard": 5.0}, "ok"),
        # Far longer than usual, in every slot.
        ((70.0, 80.0), {}, "stuck"),
        ((70.0,), {}, "ok"),
        ((50.0, 55.0), {}, "busy"),
        ((70.0, 80.0), {"usual": 10.0}, "busy"),
        ((250.0, 280.0), {"usual": 10.0}, "stuck"),
    ],
)
def test_the_state_word(ran: tuple[float, ...], facts: dict[str, Any], state: str) -> None:
    node = worker(*ran, **facts)

    word, reasons = assess(node, node.pool.running(), time.monotonic())

    assert word == state
    assert bool(reasons) == (state == "stuck" or bool(node.pool.trouble()))


def test_the_record_tells_of_nodes_that_died_lately_and_forgets_them() -> None:
    node = worker(lost={"w2@h": time.monotonic() - 5, "w3@h": time.monotonic() - LOST_FOR - 1})

    found = lost(node, time.monotonic())

    assert list(found) == ["w2@h"] == list(node.lost)
    assert 5 <= found["w2@h"] < 6
