"""One part of a chord on its way to whoever counts, and what counting it says."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from ..errors import DecodeError
from . import codecs
from .result_meta import decode_exception, storable_exception
from .states import EXCEPTION_STATES


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


class LatePart(msgspec.Struct, array_like=True, kw_only=True):
    """A part that a child could not bring to an end, for its worker to count once more.

    `body` is the encoded signature of the chord's body, `serializer` in which form; `parent_id`
    and `root_id` are what the body gets.
    """

    part: Part
    body: bytes
    serializer: str
    parent_id: str
    root_id: str | None = None


class Claim(msgspec.Struct, array_like=True, kw_only=True, frozen=True):
    """A chord that is at an end as soon as what follows it is published.

    `token` is that of the claim on its body; `failed` says that the body will never run.  `kept`
    are the ids of steps in the backend that nobody needs any more then.
    """

    group_id: str
    token: str
    failed: bool = False
    kept: list[str] = []


def encode_member(task_id: str, state: str, result: Any, serializer: str) -> bytes:
    """Return what is kept of a part (Celery 5.7 backends/redis.py: `[1, id, state, result]`).

    Raises EncodeError if the result cannot be written.
    """
    if isinstance(result, BaseException):
        result = storable_exception(result, serializer)
    return codecs.encode([1, task_id, state, result], serializer)[2]


def decode_member(data: bytes, serializer: str) -> tuple[str, str, Any]:
    """Return (task id, state, result) of a part; a failed one's result is an exception.

    Raises DecodeError.
    """
    codec = codecs.codec_named(serializer)
    fields = codecs.decode(data, codec.content_type, codec.content_encoding)
    try:
        _, task_id, state, result = fields
    except (TypeError, ValueError) as exc:
        raise DecodeError(f"part of a chord cannot be read: {data[:80]!r}") from exc
    if state in EXCEPTION_STATES and isinstance(result, dict) and "exc_type" in result:
        result = decode_exception(result)
    return task_id, state, result
