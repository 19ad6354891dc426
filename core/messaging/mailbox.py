"""The post of remote control: the requester's side and the node's side.

Names and shapes are kombu's pidbox, so that Celery's nodes and clients understand ours.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

from ..brokers.base import Broker, Heard
from ..errors import TaskctlError
from ..wire import codecs
from ..wire.command_message import (
    CommandReply,
    CommandRequest,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
    mailbox_exchange,
    reply_queue,
)
from ..wire.message import Publication
from ..wire.queues import CONTROL_QUEUE, PrivateQueue
from .connection import Connection

log = logging.getLogger("taskctl.mailbox")

#: Seconds between two looks at the reply queue: quick at first, then patient.
_FIRST_LOOK, _LAST_LOOK = 0.001, 0.01
#: Seconds that are left for the last words to the broker when the time is over.
_LEAVE = 0.1


class NodeMailbox:
    """Where a node finds what it is told, and how it answers."""

    def __init__(
        self,
        node: str,
        *,
        namespace: str = "celery",
        serializer: str = "json",
        accept: Iterable[str] = ("json",),
        queue: PrivateQueue = CONTROL_QUEUE,
    ) -> None:
        self.node = node
        self.queue = queue
        self.namespace = namespace
        self.serializer = serializer
        self.accept = codecs.accepted_types(accept)
        self.exchange = mailbox_exchange(namespace).name

    def open(self, broker: Broker) -> None:
        """Listen from now on."""
        broker.listen(self.exchange, "", self.queue)

    def read(self, heard: Heard) -> CommandRequest | None:
        """Return the request, for whomever it is; what cannot be read is logged."""
        try:
            request = decode_request(heard.envelope, self.accept)
        except TaskctlError as exc:
            log.error("remote control: dropped a request: %s", exc)
            return None
        return request

    def answer(self, request: CommandRequest, value: Any, clock: int) -> Publication | None:
        """Return the reply on its way; None if nobody asked for one."""
        if not request.reply_to:
            return None
        reply = CommandReply(
            node=self.node, value=value, ticket=request.ticket or "", clock=clock, pid=os.getpid()
        )
        try:
            return encode_reply(reply, request.reply_to, self.serializer)
        except TaskctlError as exc:
            reply.value = {"error": repr(exc)}
            return encode_reply(reply, request.reply_to, self.serializer)


class Collected(NamedTuple):
    """The replies to one request; `reach` is how many listened to it, None if nobody can tell."""

    replies: list[CommandReply]
    reach: int | None


class Inquiry:
    """One question to all nodes, asked by a node in its own loop: nothing here waits.

    `reach` is how many listened to it, None if nobody can tell.  The broker is the caller's.
    """

    def __init__(
        self,
        broker: Broker,
        request: CommandRequest,
        *,
        namespace: str,
        serializer: str = "json",
        accept: frozenset[str],
        timeout: float = 1.0,
        private: PrivateQueue = CONTROL_QUEUE,
    ) -> None:
        oid, self._ticket = str(uuid4()), str(uuid4())
        queue = reply_queue(namespace, oid, private)
        request.ticket = self._ticket
        request.reply_to = {"exchange": queue.exchange.name, "routing_key": oid}
        request.expires = time.time() + timeout
        self._broker, self._queue, self._accept = broker, queue.name, accept
        broker.declare(queue)
        envelope = encode_request(request, namespace, serializer)
        self.reach = broker.broadcast(mailbox_exchange(namespace).name, "", envelope)

    def collect(self) -> list[CommandReply]:
        """Return the replies that have come since the last call."""
        envelopes = self._broker.take(self._queue)
        return [reply for e in envelopes for reply in _matching(e, self._ticket, self._accept)]

    def close(self) -> None:
        """Expect no more."""
        self._broker.delete(self._queue)


class Escort(Protocol):
    """Sees every command of a client before it goes out, and after."""

    def before(self, request: CommandRequest) -> None:
        """Do what must stand before any node hears of it."""

    def after(self, request: CommandRequest, reach: int | None) -> None:
        """Do what is left; `reach` is how many listened, None where the broker cannot tell."""


class ClientMailbox:
    """How a client tells nodes something and collects what they answer."""

    def __init__(
        self,
        connection: Connection,
        *,
        namespace: str = "celery",
        serializer: str = "json",
        accept: Iterable[str] = ("json",),
        forward_clock: Callable[[], int] = lambda: 0,
        adjust_clock: Callable[[int], Any] = lambda clock: None,
        queue: PrivateQueue = CONTROL_QUEUE,
    ) -> None:
        self.queue = queue
        self.connection = connection
        self.namespace = namespace
        self.serializer = serializer
        self.accept = codecs.accepted_types(accept)
        self.forward_clock = forward_clock
        self.adjust_clock = adjust_clock
        #: What has to be done beside some commands, whoever sends them.
        self.escort: Escort | None = None

    def cast(
        self,
        method: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        destination: Iterable[str] | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
        timeout: float = 1.0,
    ) -> None:
        """Tell nodes, and wait for nothing but the broker (at most `timeout` seconds)."""
        request = self._request(method, arguments, destination, pattern, matcher)
        request.expires = time.time() + timeout
        self._escorted(request, timeout)

    def call(
        self,
        method: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        destination: Iterable[str] | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
        timeout: float = 1.0,
        limit: int | None = None,
        enough: Callable[[list[CommandReply], int | None], bool] = lambda replies, reach: False,
        callback: Callable[[CommandReply], Any] | None = None,
    ) -> Collected:
        """Return the replies that came within `timeout` seconds, connecting included.

        Ends early when nobody listens, when `limit` replies are there, or when
        `enough(replies, reach)` says so; `callback` sees each as it comes.
        """
        deadline = time.monotonic() + timeout
        request = self._request(method, arguments, destination, pattern, matcher)
        oid = str(uuid4())
        queue = reply_queue(self.namespace, oid, self.queue)
        request.ticket = str(uuid4())
        request.reply_to = {"exchange": queue.exchange.name, "routing_key": oid}
        request.expires = time.time() + timeout
        self.connection.call(lambda broker: broker.declare(queue), deadline=timeout)
        replies: list[CommandReply] = []
        reach = self._escorted(request, deadline - time.monotonic())
        if reach != 0:
            for reply in self._replies(queue.name, request.ticket, deadline):
                self.adjust_clock(reply.clock)
                replies.append(reply)
                if callback is not None:
                    callback(reply)
                if enough(replies, reach) or (limit is not None and len(replies) >= limit):
                    break
        # After an error the queue goes away by itself.
        left = max(_LEAVE, deadline - time.monotonic())
        self.connection.call(lambda broker: broker.delete(queue.name), deadline=left)
        return Collected(replies, reach)

    def _request(
        self,
        method: str,
        arguments: Mapping[str, Any] | None,
        destination: Iterable[str] | None,
        pattern: str | None,
        matcher: str | None,
    ) -> CommandRequest:
        return CommandRequest(
            method=method,
            arguments=dict(arguments or {}),
            destination=None if destination is None else list(destination),
            pattern=pattern,
            matcher=matcher,
            clock=self.forward_clock(),
        )

    def foreign_nodes(self, timeout: float) -> list[str]:
        """Return the names of Celery's nodes that have a mailbox here; some may be gone."""
        exchange = mailbox_exchange(self.namespace).name
        queues = self.connection.call(
            lambda broker: broker.foreign_listeners(exchange), deadline=max(timeout, _LEAVE)
        )
        ending = f".{exchange}"
        return [name.removesuffix(ending) for name in queues if name.endswith(ending)]

    def _send(self, request: CommandRequest, timeout: float) -> int | None:
        envelope = encode_request(request, self.namespace, self.serializer)
        exchange = mailbox_exchange(self.namespace).name
        return self.connection.call(
            lambda broker: broker.broadcast(exchange, "", envelope), deadline=max(timeout, 0.01)
        )

    def _escorted(self, request: CommandRequest, timeout: float) -> int | None:
        if self.escort is None:
            return self._send(request, timeout)
        self.escort.before(request)
        reach = self._send(request, timeout)
        self.escort.after(request, reach)
        return reach

    def _replies(self, queue: str, ticket: str, deadline: float) -> Iterable[CommandReply]:
        pause = _FIRST_LOOK
        while True:
            remaining = deadline - time.monotonic()
            envelopes = self.connection.call(
                lambda broker: broker.take(queue), deadline=max(remaining, 0.01)
            )
            for envelope in envelopes:
                yield from _matching(envelope, ticket, self.accept)
            if remaining <= 0:
                return
            if not envelopes:
                time.sleep(min(pause, remaining))
                pause = min(pause * 1.5, _LAST_LOOK)


def _matching(envelope: bytes, ticket: str, accept: frozenset[str]) -> Iterable[CommandReply]:
    """Yield the replies in an envelope that answer the request of that ticket."""
    try:
        replies = decode_reply(envelope, accept)
    except TaskctlError as exc:
        log.warning("remote control: dropped a reply: %s", exc)
        return
    yield from (reply for reply in replies if reply.ticket in ("", ticket))
