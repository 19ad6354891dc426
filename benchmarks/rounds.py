"""Take turns, so that whatever the machine does meanwhile hits all alike."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from .stand import Contestant, wait_for_quiet

T = TypeVar("T")


def take_turns(
    contestants: Sequence[Contestant], rounds: int, measure: Callable[[Contestant], T]
) -> dict[Contestant, list[T]]:
    """Return what `measure` says of each contestant in each round: A, B, C, A, B, C, ..."""
    taken: dict[Contestant, list[T]] = {contestant: [] for contestant in contestants}
    for number in range(rounds):
        for contestant in contestants:
            wait_for_quiet()
            taken[contestant].append(measure(contestant))
            print(
                f"  round {number + 1} of {rounds}, {contestant.label}: {taken[contestant][-1]}",
                file=sys.stderr,
            )
    return taken


class Sample:
    """One number, taken once a round."""

    def __init__(self, values: Sequence[float]) -> None:
        self.values = list(values)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def show(self, digits: int = 0) -> str:
        """Return `median (smallest to largest)`."""
        shown = f"{self.median:,.{digits}f}"
        low, high = min(self.values), max(self.values)
        return f"{shown} ({low:,.{digits}f} to {high:,.{digits}f})"

    def over(self, other: Sample) -> Sample:
        """Return the ratio of each round."""
        return Sample([a / b for a, b in zip(self.values, other.values, strict=True)])
