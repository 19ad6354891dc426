"""What stands in the headers of a task message: the part that a worker's parent reads.

Source: Celery 5.7 `celery.app.amqp.as_task_v2`, as observed on the wire.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import msgspec

from ..errors import DecodeError

#: Header in which our callers say by which keys a call is limited: rate, concurrency, unique, and
#: whether the lock of a unique task is "claimed".
LIMIT_HEADER = "taskctl-limits"

#: Headers protocol 2 knows; every other one is the user's own.
KNOWN_HEADERS = frozenset(
    "lang task id shadow eta expires group group_index retries timelimit root_id parent_id "
    "argsrepr kwargsrepr origin ignore_result replaced_task_nesting stamped_headers stamps "
    "compression redelivered utc taskset method origin taskctl-limits".split()
)
#: Headers RabbitMQ adds when it dead-letters; they must not travel on with a retry.
BROKER_HEADERS = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count")


#: A count as others write it too: what no 64 bits hold is a mistake.
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
_Seconds = Annotated[float, msgspec.Meta(ge=0)]


class TaskHeaders(msgspec.Struct, kw_only=True):
    """The protocol's headers with their defaults."""

    task: str | None = None
    id: str | None = None
    lang: str | None = None
    shadow: str | None = None
    eta: str | None = None
    expires: str | None = None
    group: str | None = None
    group_index: _Count | None = None
    retries: _Count | None = 0
    timelimit: list[_Seconds | None] | None = None
    root_id: str | None = None
    parent_id: str | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    origin: str | None = None
    ignore_result: bool | None = None
    replaced_task_nesting: _Count | None = 0
    stamped_headers: list[str] | None = None
    stamps: dict[str, Any] | None = None
    compression: str | None = None
    #: As found; whoever reads it looks at what it is.
    limit_keys: Any = msgspec.field(name="taskctl-limits", default=None)

    def limits(self) -> tuple[float | None, float | None]:
        """Return (hard, soft) time limits in seconds."""
        pair = self.timelimit or ()
        hard = pair[0] if len(pair) > 0 else None
        soft = pair[1] if len(pair) > 1 else None
        return hard, soft


#: Headers that become keys, file names and lines of logs.
_NAMES = ("task", "id", "shadow", "group", "root_id", "parent_id")


def refuse_oddities(headers: TaskHeaders) -> TaskHeaders:
    """Return headers that Python's json has read, which takes more than is any good.

    Raises DecodeError for limits that are no number, and names that no encoding can write.
    """
    for limit in headers.timelimit or ():
        if limit is not None and not math.isfinite(limit):
            raise DecodeError(f"task message: {limit} in `$.timelimit` is no number of seconds")
    for name in _NAMES:
        try:
            (getattr(headers, name) or "").encode("utf-8")
        except UnicodeEncodeError as exc:
            raise DecodeError(f"task message: `$.{name}` is no text: {exc.reason}") from exc
    return headers


class DeliveryInfo(msgspec.Struct, kw_only=True, frozen=True):
    """Where a message was published."""

    exchange: str | None = ""
    routing_key: str | None = ""
    redelivered: bool | None = None


class TaskProperties(msgspec.Struct, kw_only=True):
    """The properties a worker reads."""

    correlation_id: str | None = None
    reply_to: str | None = None
    delivery_info: DeliveryInfo = DeliveryInfo()
    priority: int | None = 0
    body_encoding: str | None = None
    delivery_tag: str | None = None


class TaskMessage(msgspec.Struct, kw_only=True):
    """What a worker reads of a task message; the body stays as it came."""

    headers: TaskHeaders = msgspec.field(default_factory=TaskHeaders)
    properties: TaskProperties = msgspec.field(default_factory=TaskProperties)
    content_type: str | None = msgspec.field(name="content-type", default="application/json")
    content_encoding: str | None = msgspec.field(name="content-encoding", default="utf-8")
    body: Any = ""


def custom_headers(headers: dict[str, Any]) -> dict[str, Any]:
    """Return the user's own headers, the ones a retry sends again."""
    return {
        name: value
        for name, value in headers.items()
        if name not in KNOWN_HEADERS and not name.startswith(BROKER_HEADERS)
    }
