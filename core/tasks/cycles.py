"""Signatures that would follow or hold themselves: refused where they are linked, or sent."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_LINKS = ("link", "link_error")
_MEMBERS = ("tasks", "header", "body")


def refuse_cycle(signature: Any, follower: Any) -> None:
    """Raise ValueError if `signature` is among what follows `follower`, or is it itself.

    Each would be in the message of the other, without end.
    """
    ways: list[tuple[Any, ...]] = [(signature, follower)]
    seen: set[int] = set()
    while ways:
        way = ways.pop()
        last = way[-1]
        if last is signature:
            names = " -> ".join(str(one.get("task")) for one in way)
            raise ValueError(
                f"cyclic link: {names}: a signature cannot follow itself; link a copy (clone())"
            )
        if id(last) not in seen:
            seen.add(id(last))
            ways.extend((*way, one) for one in _followers(last))


def named_cycle(call: Callable[P, R]) -> Callable[P, R]:
    """Have a method of a signature that holds itself raise ValueError, saying where.

    It costs nothing until Python gives up.
    """

    @functools.wraps(call)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return call(*args, **kwargs)
        except RecursionError:
            names = _cycle_in(args[0])
            if names is None:
                raise
        raise ValueError(
            f"cyclic signature: {' -> '.join(names)}: a signature cannot hold itself; put a copy"
            " (clone()) into it"
        )

    return wrapper


def _cycle_in(signature: Any) -> list[str] | None:
    """Return the names of the tasks of a circle, if there is one."""
    ways: list[tuple[Any, ...]] = [(signature,)]
    seen: set[int] = set()
    while ways:
        way = ways.pop()
        last = way[-1]
        if any(one is last for one in way[:-1]):
            return [str(one.get("task")) for one in way]
        if id(last) not in seen:
            seen.add(id(last))
            ways.extend((*way, one) for one in _followers(last))
    return None


def _followers(signature: Any) -> Iterator[Any]:
    """Yield what is linked to a signature, and what it holds."""
    if not isinstance(signature, Mapping):
        return
    options = signature.get("options") or {}
    kwargs = (signature.get("kwargs") or {}) if signature.get("subtask_type") else {}
    held = [options.get(name) for name in _LINKS] + [kwargs.get(name) for name in _MEMBERS]
    for one in held:
        if isinstance(one, list | tuple):
            yield from one
        elif one:
            yield one
