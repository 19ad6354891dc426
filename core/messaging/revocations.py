"""What is revoked stands at the broker, so that a worker which starts later knows it too.

A mark is `id:` and a task id, or `stamp:` and the JSON of `[name, value]`.  Workers load all of
them when they connect, and hear what is new by the command `revoke`, so that no task costs a
question to the broker.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..brokers.base import Broker

_ID, _STAMP = "id:", "stamp:"


class Revoked(NamedTuple):
    """Task ids, and stamps as (name, value), with the seconds for which they are still revoked."""

    ids: dict[str, float]
    stamps: list[tuple[str, Any, float]]


def note_ids(broker: Broker, task_ids: Iterable[str], seconds: float) -> None:
    """Let no worker run these tasks for `seconds`, also one that starts later."""
    broker.note_revoked([_ID + task_id for task_id in task_ids], seconds)


def note_stamps(broker: Broker, stamps: Mapping[str, Iterable[Any]], seconds: float) -> None:
    """Let no worker run tasks that bear one of these stamps.

    Raises TypeError for a value that JSON cannot write.
    """
    broker.note_revoked(
        [_STAMP + json.dumps([name, value]) for name, values in stamps.items() for value in values],
        seconds,
    )


def load(broker: Broker) -> Revoked:
    """Return all that is revoked now; marks that nobody of us wrote are left out."""
    ids: dict[str, float] = {}
    stamps: list[tuple[str, Any, float]] = []
    for mark, seconds in broker.revoked_marks().items():
        if mark.startswith(_ID):
            ids[mark.removeprefix(_ID)] = seconds
        elif mark.startswith(_STAMP) and (stamp := _stamp(mark.removeprefix(_STAMP))):
            stamps.append((*stamp, seconds))
    return Revoked(ids, stamps)


def _stamp(text: str) -> tuple[str, Any] | None:
    try:
        name, value = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None
    return (name, value) if isinstance(name, str) else None
