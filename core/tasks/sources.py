"""Members of a group that come out of a generator, too many to be held at once.

A list of a million signatures takes a gigabyte.  A group that is made of a long generator, and sent
as it is, reads, sends and forgets one after the other.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from .signature import Signature

#: Members that are read when a group is made; only what lies beyond is read while it is sent.
MOST_HELD = 10_000


class _Spent:
    """In the place of a generator that has been read, and whose members nobody has."""

    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError(
            f"this group was made of a generator of more than {MOST_HELD} signatures, which are"
            " sent one by one and not kept: it can be sent once; make it of a list to use it again"
        )


class FromSource(dict[str, Any]):
    """A signature whose members, `kwargs["tasks"]`, may still be in a generator.

    Whoever looks at the dict, or into its `kwargs`, has them all read.
    """

    _source: Iterable[Any] | None = None

    def _take(self, members: Iterator[Any]) -> list[Any]:
        """Return the members to begin with: all of them, or none if they are too many."""
        head = list(itertools.islice(members, MOST_HELD + 1))
        if len(head) <= MOST_HELD:
            return head
        self._source = itertools.chain(head, members)
        return []

    def _read(self) -> None:
        """Have all members in the dict."""
        if self._source is not None:
            source, self._source = self._source, _Spent()
            members = list(source)
            self._source = None
            super().__getitem__("kwargs")["tasks"] = members

    def first_member(self) -> Any:
        """Return the first member, or None; a generator is read no further."""
        if self._source is None:
            return next(iter(self["kwargs"]["tasks"]), None)
        source = iter(self._source)
        first = next(source)  # there are more than MOST_HELD
        self._source = itertools.chain((first,), source)
        return first

    def each_once(self) -> Iterator[Any]:
        """Yield the members; those in a generator as they are read, and never again."""
        if self._source is None:
            yield from self["kwargs"]["tasks"]
        else:
            source, self._source = self._source, _Spent()
            yield from source

    # --- whoever looks ------------------------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        if key == "kwargs":
            self._read()
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._read()
        return super().get(key, default)

    def items(self) -> Any:
        self._read()
        return super().items()

    def values(self) -> Any:
        self._read()
        return super().values()

    def __iter__(self) -> Iterator[str]:
        self._read()  # and having a method of its own, dict(group) asks for each item
        return super().__iter__()

    def __eq__(self, other: object) -> bool:
        for one in (self, other):
            if isinstance(one, FromSource):
                one._read()
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # as that of any dict


def checked(members: Iterable[Any]) -> Iterator[Signature[Any]]:
    """Yield the members of a group; raise TypeError for one that is no signature."""
    for member in members:
        if not isinstance(member, Signature):
            raise TypeError(f"a group holds signatures, got {member!r}: use task.s(...)")
        yield member


def told_last(items: Iterable[Any]) -> Iterator[tuple[Any, bool]]:
    """Yield each item, and whether it is the last."""
    rest = iter(items)
    for item in rest:
        for following in rest:
            yield item, False
            item = following
        yield item, True
