"""Values of stamps, as they are revoked and as a task bears them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .task_headers import TaskHeaders

#: Values by the name of their stamp.
Stamps = Mapping[str, list[Any]]


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
