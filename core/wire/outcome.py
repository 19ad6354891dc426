"""What a child says of one request when it is done with it; one record on the pipe."""

from __future__ import annotations

import msgspec

from .chord_part import Claim, LatePart
from .message import Publication

#: Kinds of outcome.
SUCCEEDED = "succeeded"
FAILED = "failed"
RETRIED = "retried"
IGNORED = "ignored"
REJECTED = "rejected"
TIMED_OUT = "timed out"
LOST = "lost"
#: The child could not read the message at all: no result, no event, not to be run again.
INVALID = "invalid"
KINDS = (SUCCEEDED, FAILED, RETRIED, IGNORED, REJECTED, TIMED_OUT, LOST, INVALID)


class StoredMeta(msgspec.Struct, array_like=True, kw_only=True):
    """One result meta, encoded and ready for the backend.

    `reply_to` and `correlation_id` (None: the task id) come from the request: a backend that
    sends results instead of keeping them sends it there.
    """

    task_id: str
    state: str
    meta: bytes
    reply_to: str | None = None
    correlation_id: str | None = None


class Outcome(msgspec.Struct, array_like=True, kw_only=True):
    """The end of one request, as the parent must know it.

    `request` is the number the parent gave the request; `runtime` is seconds, float.
    `results` are stored first, then `publications` go out in the same step in which the message
    is acked, so that a chain advances exactly when its link is done.
    `text` is the repr of the result or of the exception, at most 1024 characters, empty when
    nobody asked; `traceback` is empty unless failed or retried.  `expected` marks an exception
    listed in the task's `throws`.  `memory_kib` is the child's peak resident size, when a limit
    on it is set.  `pid` and `signum` tell of the child that died, for LOST and TIMED_OUT.
    `blameless` says that a child was killed for what another of its requests did.
    `claims` are chords whose end is among the publications; `parts` are parts of chords that are
    to be counted before the message is acked.
    """

    request: int
    kind: str
    runtime: float = 0.0
    text: str = ""
    traceback: str = ""
    results: list[StoredMeta] = []
    publications: list[Publication] = []
    requeue: bool = False
    expected: bool = False
    memory_kib: int = 0
    pid: int = 0
    signum: int | None = None
    claims: list[Claim] = []
    parts: list[LatePart] = []
    blameless: bool = False


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Outcome)


def encode_outcome(outcome: Outcome) -> bytes:
    """Return the record of one outcome."""
    return _encoder.encode(outcome)


def decode_outcome(record: bytes) -> Outcome:
    """Return the outcome in a record."""
    return _decoder.decode(record)
