"""States that know which of them counts more."""

from __future__ import annotations

from typing import Any

from taskctl.core.wire.states import PRECEDENCE, precedence

PRECEDENCE_LOOKUP = {state: rank for rank, state in enumerate(PRECEDENCE)}
NONE_PRECEDENCE = PRECEDENCE_LOOKUP[None]


class state(str):
    """The name of a state; one is greater than another if its news overrides that one's."""

    def __gt__(self, other: Any) -> bool:
        return precedence(self) < precedence(other)

    def __ge__(self, other: Any) -> bool:
        return precedence(self) <= precedence(other)

    def __lt__(self, other: Any) -> bool:
        return precedence(self) > precedence(other)

    def __le__(self, other: Any) -> bool:
        return precedence(self) >= precedence(other)
