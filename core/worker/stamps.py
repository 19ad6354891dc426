"""Stamps whose tasks are revoked: `revoke_by_stamped_headers` (Celery 5.7 worker/request.py).

They are kept until the node ends, and hold for tasks that come later too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..wire.task_message import TaskHeaders

#: Values by the name of their stamp.
Stamps = Mapping[str, list[Any]]


class RevokedStamps:
    """The stamps that were revoked here."""

    def __init__(self) -> None:
        self._values: dict[str, list[Any]] = {}

    def add(self, stamps: Stamps) -> None:
        """Revoke tasks that bear one of these."""
        for name, values in stamps.items():
            known = self._values.setdefault(name, [])
            known.extend(value for value in values if value not in known)

    def cover(self, headers: TaskHeaders) -> bool:
        """Return whether a task with these headers is revoked."""
        return bool(self._values) and bool(matching(headers, self._values))


def as_stamps(given: Mapping[str, Any] | Iterable[str]) -> dict[str, list[Any]]:
    """Return stamps given as a mapping, or as texts `KEY=VALUE`, by name.

    Raises ValueError for a text without `=`.
    """
    if isinstance(given, Mapping):
        return {name: _listed(value) for name, value in given.items()}
    stamps: dict[str, list[Any]] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not name or not sign:
            raise ValueError(f"stamp {text!r}: write KEY=VALUE")
        stamps.setdefault(name, []).append(value)
    return stamps


def matching(headers: TaskHeaders, wanted: Stamps) -> dict[str, list[Any]]:
    """Return which of the `wanted` stamps a task bears."""
    borne = headers.stamps or {}
    found = {}
    for name in headers.stamped_headers or borne:
        values = [value for value in _listed(borne.get(name)) if value in wanted.get(name, ())]
        if values:
            found[name] = values
    return found


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | set) else [value]
