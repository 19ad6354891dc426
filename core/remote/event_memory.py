"""Dicts of limited size, and indexes, for what events tell."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from .event_records import Task

V = TypeVar("V")


class Recent(OrderedDict[str, V], Generic[V]):
    """A dict of at most `limit` items; the one not touched for longest goes first.

    `forget` is called with each value that goes.
    """

    def __init__(self, limit: int, forget: Callable[[V], Any] = lambda value: None) -> None:
        super().__init__()
        self.limit = limit
        self.forget = forget

    def __setitem__(self, key: str, value: V) -> None:
        super().__setitem__(key, value)
        while self.limit and len(self) > self.limit:
            self.forget(self.popitem(last=False)[1])

    def touch(self, key: str) -> None:
        """Make this the one that goes last."""
        self.move_to_end(key)

    def __reduce__(self) -> Any:
        return _recent, (self.limit, list(self.items()))


def _recent(limit: int, items: list[tuple[str, Any]]) -> Recent[Any]:
    made: Recent[Any] = Recent(limit)
    made.update(items)
    return made


class TaskIndex(Mapping[str, set[Task]]):
    """Tasks by a word of theirs: `index[word]` is a set, `index(word)` pairs ordered by time."""

    def __init__(self, tasks: Callable[..., Iterator[tuple[str, Task]]]) -> None:
        self._tasks = tasks
        self._sets: dict[str, set[Task]] = {}

    def __getitem__(self, word: str) -> set[Task]:
        return set(self._sets.get(word, ()))

    def __contains__(self, word: object) -> bool:
        return word in self._sets

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._sets))

    def __len__(self) -> int:
        return len(self._sets)

    def __call__(
        self, word: str, limit: int | None = None, reverse: bool = True
    ) -> Iterator[tuple[str, Task]]:
        """Yield (uuid, task), the latest first."""
        wanted = self[word]
        found = (pair for pair in self._tasks(reverse=reverse) if pair[1] in wanted)
        for number, pair in enumerate(found):
            if limit is not None and number >= limit:
                return
            yield pair

    def add(self, word: str | None, task: Task) -> None:
        """Take in a task; nothing happens for a word that is not known yet."""
        if word:
            self._sets.setdefault(word, set()).add(task)

    def drop(self, word: str | None, task: Task) -> None:
        """Forget a task."""
        if word and (found := self._sets.get(word)) is not None:
            found.discard(task)
            if not found:
                del self._sets[word]

    def clear(self) -> None:
        """Forget all."""
        self._sets.clear()
