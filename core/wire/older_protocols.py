"""Task messages of protocol 1, whose headers are in the body, and of the hybrid between 1 and 2.

Read as Celery 5.7 reads them (worker/strategy.py).  A body is opened here in a worker's parent,
which must run nobody's code: the objects in a pickle are left as stand-ins, see `foreign`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from ..errors import DecodeError, InvalidTaskError, TaskctlError
from . import codecs, foreign
from .message import decode_envelope, unpack_body
from .saferepr import saferepr
from .task_headers import TaskHeaders, TaskMessage, refuse_oddities

_PICKLE = "application/x-python-serialize"


def headers_in_body(message: TaskMessage, accept: frozenset[str]) -> TaskHeaders:
    """Return the headers of a message that has no header `task`: those in its body.

    Raises DecodeError if the body cannot be read, InvalidTaskError if it is no task's, or of a
    type that `accept` lacks.
    """
    if message.content_type not in accept and message.content_type not in codecs.RAW_TYPES:
        raise InvalidTaskError(
            f"unknown message: no task header, and a body of type {message.content_type!r}, "
            "which is not in accept_content"
        )
    body = _open(message, accept)
    if not isinstance(body, dict) or not isinstance(body.get("task"), str):
        raise InvalidTaskError("unknown message: no task header and no task in the body")
    fields = _fields(body)
    if body.get("taskset"):
        fields["group"] = body["taskset"]
    fields["argsrepr"] = saferepr(body.get("args") or ())
    fields["kwargsrepr"] = saferepr(body.get("kwargs") or {})
    fields["compression"] = message.headers.compression
    return _headers(fields)


def hybrid_headers(envelope: bytes, message: TaskMessage, accept: frozenset[str]) -> TaskHeaders:
    """Return the headers of a message whose body may hold those that it lacks.

    Protocol 2 always names its language; what does not is looked into.  A body that is protocol
    2's, or that cannot be read here, adds nothing.

    Raises DecodeError if a header in the body has the wrong type.
    """
    if message.content_type not in accept:
        return message.headers
    try:
        body = _open(message, accept)
    except TaskctlError:
        return message.headers  # whoever opens it to run it says what is wrong with it
    if not isinstance(body, dict):
        return message.headers
    given = decode_envelope(envelope).headers
    known = {k: v for k, v in given.items() if k in TaskHeaders.__struct_fields__}
    return _headers({**_fields(body), **known})


def _open(message: TaskMessage, accept: frozenset[str]) -> Any:
    encoding = message.content_encoding or "utf-8"
    data = unpack_body(message.body, message.properties.body_encoding, encoding)
    if message.headers.compression:
        data = codecs.decompress(data, message.headers.compression, codecs.largest_of(accept))
    if message.content_type == _PICKLE:
        return foreign.pickle_look(data)
    return codecs.decode(data, message.content_type or "application/data", encoding, accept)


def _fields(body: dict[Any, Any]) -> dict[str, Any]:
    """Return what a body says of the headers' fields."""
    fields = {k: v for k, v in body.items() if k in TaskHeaders.__struct_fields__}
    if body.get("utc") is False:
        fields.update(_local_times(fields))
    return fields


def _headers(fields: dict[str, Any]) -> TaskHeaders:
    try:
        return refuse_oddities(msgspec.convert(fields, TaskHeaders))
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise DecodeError(f"task message: {exc}") from exc


def _local_times(fields: dict[str, Any]) -> dict[str, str]:
    """Return eta and expires with this machine's offset, where protocol 1 left it out."""
    aware = {}
    for name in ("eta", "expires"):
        try:
            when = datetime.fromisoformat(fields[name])
            if when.tzinfo is None:
                aware[name] = when.astimezone().isoformat()
        except (KeyError, TypeError, ValueError, OverflowError):
            continue  # absent, or unreadable: whoever acts on it says so
    return aware
