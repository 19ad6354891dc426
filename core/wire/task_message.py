"""Task messages, Celery's protocol 2: headers eager, body lazy.

Source: Celery 5.7 `celery.app.amqp.as_task_v2`, as observed on the wire.  Protocol 1 and hybrid
messages are understood, never written.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..errors import DecodeError, InvalidTaskError
from . import codecs
from .message import Message, _decode_leniently
from .older_protocols import headers_in_body, hybrid_headers
from .task_headers import (
    KNOWN_HEADERS,
    DeliveryInfo,
    TaskHeaders,
    TaskMessage,
    TaskProperties,
    custom_headers,
    refuse_oddities,
)

__all__ = [
    "KNOWN_HEADERS",
    "DeliveryInfo",
    "TaskBody",
    "TaskHeaders",
    "TaskMessage",
    "TaskProperties",
    "custom_headers",
    "decode_body",
    "decode_task",
    "encode_body",
]

_decoder = msgspec.json.Decoder(TaskMessage)


#: What is opened for the headers of an older protocol by who only looks: none of it runs code.
_LOOKED_AT = codecs.accepted_types(["json", "pickle", "yaml", "msgpack"])


def decode_task(envelope: bytes, accept: frozenset[str] = _LOOKED_AT) -> TaskMessage:
    """Return the task message in an envelope; an older protocol's body is opened for its headers.

    Only a body of a type in `accept` is opened; of a pickle no object is made, see `foreign`.

    Raises DecodeError if it is not an envelope or a header has the wrong type, InvalidTaskError
    if it is no task at all.
    """
    try:
        message = _decoder.decode(envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        message = _second_look(envelope, exc)
    if message.headers.task is None:
        message.headers = headers_in_body(message, accept)
    elif message.headers.lang is None:
        message.headers = hybrid_headers(envelope, message, accept)
    if not message.headers.id:
        raise InvalidTaskError("task message without an id")
    return message


def _second_look(envelope: bytes, cause: Exception) -> TaskMessage:
    parts = _decode_leniently(envelope)
    try:
        return TaskMessage(
            headers=refuse_oddities(msgspec.convert(parts.headers, TaskHeaders)),
            properties=msgspec.convert(parts.properties, TaskProperties),
            content_type=parts.content_type,
            content_encoding=parts.content_encoding,
            body=parts.body,
        )
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise DecodeError(f"task message: {exc}") from cause


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
        data = codecs.decompress(data, compression, codecs.largest_of(accept))
    body = codecs.decode(data, message.content_type, message.content_encoding, accept)
    if isinstance(body, dict):  # protocol 1, or a hybrid
        args, kwargs, embed = body.get("args") or [], body.get("kwargs") or {}, body
    else:
        if not isinstance(body, list | tuple) or len(body) != 3:
            raise InvalidTaskError(
                f"task body is {_shape(body)}, [args, kwargs, embed] expected: "
                "of a newer protocol, or not a task's"
            )
        args, kwargs, embed = body[0], body[1], body[2] or {}
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


def _shape(body: Any) -> str:
    if isinstance(body, list | tuple):
        return f"an array of {len(body)}"
    return type(body).__name__


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
