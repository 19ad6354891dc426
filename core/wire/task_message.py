"""Task messages, Celery's protocol 2: headers eager, body lazy.

Source: Celery 5.7 `celery.app.amqp.as_task_v2`, as observed on the wire.  Protocol 1 and hybrid
messages are understood, never written.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from ..errors import DecodeError, InvalidTaskError
from . import codecs
from .message import Message, _decode_leniently, unpack_body

#: Headers protocol 2 knows; every other one is the user's own.
KNOWN_HEADERS = frozenset(
    "lang task id shadow eta expires group group_index retries timelimit root_id parent_id "
    "argsrepr kwargsrepr origin ignore_result replaced_task_nesting stamped_headers stamps "
    "compression redelivered utc taskset method origin".split()
)
#: Headers RabbitMQ adds when it dead-letters; they must not travel on with a retry.
BROKER_HEADERS = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count")


class TaskHeaders(msgspec.Struct, kw_only=True):
    """The protocol's headers with their defaults."""

    task: str | None = None
    id: str | None = None
    lang: str | None = None
    shadow: str | None = None
    eta: str | None = None
    expires: str | None = None
    group: str | None = None
    group_index: int | None = None
    retries: int | None = 0
    timelimit: list[float | None] | None = None
    root_id: str | None = None
    parent_id: str | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    origin: str | None = None
    ignore_result: bool | None = None
    replaced_task_nesting: int | None = 0
    stamped_headers: list[str] | None = None
    stamps: dict[str, Any] | None = None
    compression: str | None = None

    def limits(self) -> tuple[float | None, float | None]:
        """Return (hard, soft) time limits in seconds."""
        pair = self.timelimit or ()
        hard = pair[0] if len(pair) > 0 else None
        soft = pair[1] if len(pair) > 1 else None
        return hard, soft


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


_decoder = msgspec.json.Decoder(TaskMessage)


def decode_task(envelope: bytes) -> TaskMessage:
    """Return the task message in an envelope; protocol 1 bodies are opened for their headers.

    Raises DecodeError if it is not an envelope or a header has the wrong type, InvalidTaskError
    if it is no task at all.
    """
    try:
        message = _decoder.decode(envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        message = _second_look(envelope, exc)
    if message.headers.task is None:
        message.headers = _headers_of_protocol_1(message)
    if not message.headers.id:
        raise InvalidTaskError("task message without an id")
    return message


def _second_look(envelope: bytes, cause: Exception) -> TaskMessage:
    parts = _decode_leniently(envelope)
    try:
        return TaskMessage(
            headers=msgspec.convert(parts.headers, TaskHeaders),
            properties=msgspec.convert(parts.properties, TaskProperties),
            content_type=parts.content_type,
            content_encoding=parts.content_encoding,
            body=parts.body,
        )
    except msgspec.MsgspecError as exc:
        raise DecodeError(f"task message: {exc}") from cause


def _headers_of_protocol_1(message: TaskMessage) -> TaskHeaders:
    """Return the headers hidden in a protocol 1 body.

    Such a body is decoded here, in the parent, and only as JSON: data without code.
    """
    encoding = message.content_encoding or "utf-8"
    data = unpack_body(message.body, message.properties.body_encoding, encoding)
    if message.content_type != "application/json":
        raise InvalidTaskError(f"no task header, and a body of type {message.content_type!r}")
    body = codecs.decode(data, "application/json", encoding)
    if not isinstance(body, dict) or not isinstance(body.get("task"), str):
        raise InvalidTaskError("unknown message: no task header and no task in the body")
    fields = {k: v for k, v in body.items() if k in TaskHeaders.__struct_fields__}
    if body.get("taskset"):
        fields["group"] = body["taskset"]
    if body.get("utc") is False:
        fields.update(_local_times(fields))
    try:
        return msgspec.convert(fields, TaskHeaders)
    except msgspec.MsgspecError as exc:
        raise DecodeError(f"task message: {exc}") from exc


def _local_times(fields: dict[str, Any]) -> dict[str, str]:
    """Return eta and expires with this machine's offset, where protocol 1 left it out."""
    aware = {}
    for name in ("eta", "expires"):
        try:
            when = datetime.fromisoformat(fields[name])
        except (KeyError, TypeError, ValueError):
            continue  # absent, or unreadable: whoever acts on it says so
        if when.tzinfo is None:
            aware[name] = when.astimezone().isoformat()
    return aware


class TaskBody(msgspec.Struct, kw_only=True):
    """The decoded body: arguments, and the signatures embedded for later."""

    args: list[Any]
    kwargs: dict[str, Any]
    callbacks: list[Any] | None = None
    errbacks: list[Any] | None = None
    chain: list[Any] | None = None
    chord: Any = None


def decode_body(message: Message, accept: frozenset[str] | None) -> TaskBody:
    """Return the arguments and embedded signatures of a task message.

    Raises ContentDisallowed, DecodeError, or InvalidTaskError if args or kwargs have the wrong
    shape.
    """
    data = message.body
    compression = message.headers.get("compression")
    if compression:
        if not isinstance(compression, str):
            raise DecodeError(f"header compression is {type(compression).__name__}, text expected")
        data = codecs.decompress(data, compression)
    body = codecs.decode(data, message.content_type, message.content_encoding, accept)
    if isinstance(body, dict):  # protocol 1, or a hybrid
        args, kwargs, embed = body.get("args") or [], body.get("kwargs") or {}, body
    else:
        try:
            args, kwargs, embed = body
        except (TypeError, ValueError) as exc:
            raise InvalidTaskError("task body is not [args, kwargs, embed]") from exc
        embed = embed or {}
    if not isinstance(embed, dict):
        raise InvalidTaskError(f"task embed is {type(embed).__name__}, object expected")
    if not isinstance(args, list | tuple):
        raise InvalidTaskError(f"task args are {type(args).__name__}, array expected")
    if not isinstance(kwargs, dict):
        raise InvalidTaskError(f"task kwargs are {type(kwargs).__name__}, object expected")
    chord = embed.get("chord")
    if not isinstance(chord, dict | None):
        raise InvalidTaskError(f"task chord is {type(chord).__name__}, object expected")
    return TaskBody(
        args=list(args),
        kwargs=kwargs,
        callbacks=_signatures(embed, "callbacks"),
        errbacks=_signatures(embed, "errbacks"),
        chain=_signatures(embed, "chain"),
        chord=chord,
    )


def _signatures(embed: dict[str, Any], name: str) -> list[Any] | None:
    found = embed.get(name)
    if found is None:
        return None
    if not isinstance(found, list | tuple) or not all(isinstance(item, dict) for item in found):
        raise InvalidTaskError(f"task {name} are not an array of signatures")
    return list(found)


def encode_body(
    args: Any,
    kwargs: dict[str, Any],
    *,
    serializer: str,
    callbacks: Any = None,
    errbacks: Any = None,
    chain: Any = None,
    chord: Any = None,
) -> tuple[str, str, bytes]:
    """Return (content type, content encoding, bytes) of a protocol 2 body.

    Raises EncodeError saying which value cannot be written.
    """
    embed = {"callbacks": callbacks, "errbacks": errbacks, "chain": chain, "chord": chord}
    return codecs.encode([args, kwargs, embed], serializer)


def custom_headers(headers: dict[str, Any]) -> dict[str, Any]:
    """Return the user's own headers, the ones a retry sends again."""
    return {
        name: value
        for name, value in headers.items()
        if name not in KNOWN_HEADERS and not name.startswith(BROKER_HEADERS)
    }
