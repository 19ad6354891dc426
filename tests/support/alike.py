"""Compare what two programs say: types, keys and values, but for what is listed and reasoned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any


class Exceptions:
    """What may differ, as patterns of paths (`stats.pool.*`) with the reason for each.

    `values` may have another value of the same type, `types` may be of another type or null,
    `more` are keys that ours has beside, `lists` may be of another length.
    """

    def __init__(
        self,
        *,
        values: Mapping[str, str] | None = None,
        types: Mapping[str, str] | None = None,
        more: Mapping[str, str] | None = None,
        lists: Mapping[str, str] | None = None,
    ) -> None:
        self.values, self.types = values or {}, types or {}
        self.more, self.lists = more or {}, lists or {}


def differences(theirs: Any, ours: Any, path: str, allowed: Exceptions) -> Iterator[str]:
    """Yield a line for each difference that is not allowed."""
    if _fits(path, allowed.types):
        return
    if _kind(theirs) is not _kind(ours):
        yield f"{path}: {theirs!r} of Celery, {ours!r} of ours"
    elif isinstance(theirs, dict):
        yield from _in_objects(theirs, ours, path, allowed)
    elif isinstance(theirs, list):
        yield from _in_lists(theirs, ours, path, allowed)
    elif theirs != ours and not _fits(path, allowed.values):
        yield f"{path}: {theirs!r} of Celery, {ours!r} of ours"


def _in_objects(
    theirs: Mapping[str, Any], ours: Mapping[str, Any], path: str, allowed: Exceptions
) -> Iterator[str]:
    for key, value in theirs.items():
        below = f"{path}.{key}"
        if key in ours:
            yield from differences(value, ours[key], below, allowed)
        elif not _fits(below, allowed.types):
            yield f"{below}: not said by ours"
    for key in ours.keys() - theirs.keys():
        if not _fits(f"{path}.{key}", allowed.more):
            yield f"{path}.{key}: said by ours alone"


def _in_lists(theirs: list[Any], ours: list[Any], path: str, allowed: Exceptions) -> Iterator[str]:
    if len(theirs) != len(ours) and not _fits(path, allowed.lists):
        yield f"{path}: {len(theirs)} items of Celery, {len(ours)} of ours"
    for mine, other in zip(sorted(theirs, key=repr), sorted(ours, key=repr), strict=False):
        yield from differences(mine, other, f"{path}[]", allowed)


def _fits(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(path, pattern.replace("[]", "[[]]")) for pattern in patterns)


def _kind(value: Any) -> type:
    """Return the type as JSON has it."""
    if isinstance(value, bool) or value is None:
        return type(value)
    if isinstance(value, int | float):
        return float
    return list if isinstance(value, tuple) else type(value)
