"""Remote control requests and replies, as kombu's pidbox puts them on the wire.

Source: protocol "remote control"; observed from Celery 5.7.
"""

from __future__ import annotations

import fnmatch
import re
from typing import Any

import msgspec

from ..errors import DecodeError
from . import codecs
from .message import PERSISTENT, TRANSIENT, Publication, decode_envelope, encode_envelope
from .queues import CONTROL_QUEUE, Exchange, PrivateQueue, Queue

#: Header in which our nodes say who answers; Celery reads ticket and clock alone.
_PID = "taskctl-pid"


class CommandRequest(msgspec.Struct, kw_only=True):
    """One command as a node receives it.

    `expires` is unix time (float), 0 for never.  Without `reply_to` nobody waits for an answer.
    """

    method: str
    arguments: dict[str, Any] = {}
    destination: list[str] | None = None
    pattern: str | None = None
    matcher: str | None = None
    ticket: str | None = None
    reply_to: dict[str, str] | None = None
    clock: int = 0
    expires: float = 0.0

    def is_for(self, node: str) -> bool:
        """Return whether `node` shall obey."""
        if self.destination:
            return node in self.destination
        if self.pattern and self.matcher:
            if self.matcher == "pcre":
                return _matches(self.pattern, node)
            return fnmatch.fnmatchcase(node, self.pattern)
        return True


def _matches(pattern: str, node: str) -> bool:
    """Return whether a regular expression fits a name; one that is none fits nobody."""
    try:
        return re.match(pattern, node) is not None
    except re.error:
        return False


class CommandReply(msgspec.Struct, kw_only=True):
    """What one node answered; `value` is what the command returned.

    `pid` tells two nodes of one name apart; Celery's do not say it.
    """

    node: str
    value: Any
    ticket: str
    clock: int = 0
    pid: int | None = None


def mailbox_exchange(namespace: str) -> Exchange:
    """Return the exchange that requests are broadcast on."""
    return Exchange(name=f"{namespace}.pidbox", type="fanout", durable=False)


def reply_queue(namespace: str, oid: str, private: PrivateQueue = CONTROL_QUEUE) -> Queue:
    """Return the private queue on which the requester `oid` is answered."""
    exchange = Exchange(name=f"reply.{namespace}.pidbox", type="direct", durable=False)
    return private.named(f"{oid}.reply.{namespace}.pidbox", exchange, oid, no_ack=True)


def encode_request(request: CommandRequest, namespace: str, serializer: str = "json") -> bytes:
    """Return the envelope of a request."""
    body: dict[str, Any] = {
        "method": request.method,
        "arguments": request.arguments,
        "destination": request.destination,
        "pattern": request.pattern,
        "matcher": request.matcher,
    }
    if request.reply_to is not None:
        body["ticket"] = request.ticket
        body["reply_to"] = request.reply_to
    content_type, encoding, data = codecs.encode(body, serializer)
    return encode_envelope(
        data,
        content_type=content_type,
        content_encoding=encoding,
        headers={"clock": request.clock, "expires": request.expires},
        properties={"delivery_mode": PERSISTENT},
        exchange=f"{namespace}.pidbox",
        routing_key="",
    )


def decode_request(envelope: bytes, accept: frozenset[str]) -> CommandRequest:
    """Return the request in an envelope.

    Raises DecodeError or ContentDisallowed.
    """
    message = decode_envelope(envelope)
    body = codecs.decode(message.body, message.content_type, message.content_encoding, accept)
    if not isinstance(body, dict):
        raise DecodeError(f"remote control request is {type(body).__name__}, object expected")
    fields = {name: body[name] for name in CommandRequest.__struct_fields__ if name in body}
    fields["arguments"] = fields.get("arguments") or {}
    fields["clock"] = message.headers.get("clock") or 0
    fields["expires"] = message.headers.get("expires") or 0.0
    try:
        request = msgspec.convert(fields, CommandRequest)
    except msgspec.ValidationError as exc:
        raise DecodeError(f"remote control request: {exc}") from exc
    if request.reply_to and not {"exchange", "routing_key"} <= request.reply_to.keys():
        raise DecodeError("remote control request: reply_to without exchange or routing_key")
    return request


def encode_reply(reply: CommandReply, reply_to: dict[str, str], serializer: str) -> Publication:
    """Return a reply on its way to the requester's queue.

    Raises EncodeError if the value cannot be written.
    """
    content_type, encoding, data = codecs.encode({reply.node: reply.value}, serializer)
    exchange, routing_key = reply_to["exchange"], reply_to["routing_key"]
    headers = {"ticket": reply.ticket, "clock": reply.clock}
    if reply.pid is not None:
        headers[_PID] = reply.pid
    envelope = encode_envelope(
        data,
        content_type=content_type,
        content_encoding=encoding,
        headers=headers,
        properties={"delivery_mode": TRANSIENT},
        exchange=exchange,
        routing_key=routing_key,
    )
    return Publication(exchange=exchange, routing_key=routing_key, envelope=envelope)


def decode_reply(envelope: bytes, accept: frozenset[str]) -> list[CommandReply]:
    """Return the replies in an envelope; one, unless a node speaks for others.

    Raises DecodeError or ContentDisallowed.
    """
    message = decode_envelope(envelope)
    body = codecs.decode(message.body, message.content_type, message.content_encoding, accept)
    if not isinstance(body, dict):
        raise DecodeError(f"remote control reply is {type(body).__name__}, object expected")
    ticket = str(message.headers.get("ticket") or "")
    clock, pid = _number(message.headers.get("clock")) or 0, _number(message.headers.get(_PID))
    return [
        CommandReply(node=node, value=value, ticket=ticket, clock=clock, pid=pid)
        for node, value in body.items()
    ]


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
