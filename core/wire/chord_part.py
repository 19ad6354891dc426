"""One part of a chord on its way to whoever counts, and what counting it says."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class Part(msgspec.Struct, array_like=True, kw_only=True, frozen=True):
    """The end of one header task, ready to be counted.

    `index` is its place in the header (None: it has none, and comes last).  `member` is what the
    backend keeps of it for the body: `[1, task id, state, result]` in the result serializer, as
    Celery 5.7 writes it (protocol.md 6.4).
    """

    group_id: str
    task_id: str
    index: int | None
    member: bytes


class Count(NamedTuple):
    """What a backend says when it has counted a part.

    `counted` parts are in; `size` is how many there will be, None while the sender is not that
    far, or once the chord has failed.  `owned` says that the caller, and nobody else, is to
    publish the body.  `done` says that somebody has: nothing was counted.  `held` is for how many
    seconds at most somebody else has the claim, if somebody has.
    """

    counted: int
    size: int | None
    owned: bool = False
    done: bool = False
    held: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether every part is in."""
        return not self.done and self.size is not None and self.counted == self.size
