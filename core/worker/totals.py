"""What a node has done since it started, in numbers."""

from __future__ import annotations


class Totals:
    """What a node has done since it started."""

    def __init__(self) -> None:
        self.accepted: dict[str, int] = {}
        self.done = 0
        self.failed = 0
        #: Messages that left each queue for good.
        self.left: dict[str, int] = {}

    def count(self, name: str) -> None:
        self.accepted[name] = self.accepted.get(name, 0) + 1
