"""Signatures that would follow themselves: refused where they are linked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_LINKS = ("link", "link_error")


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


def _followers(signature: Any) -> Iterator[Any]:
    options = (signature.get("options") or {}) if isinstance(signature, Mapping) else {}
    for name in _LINKS if options else ():
        links = options.get(name) or ()
        yield from links if isinstance(links, list | tuple) else (links,)
