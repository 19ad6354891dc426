"""Turn calls into task messages and hand them to a broker.

Writes Celery's protocol 2 (protocol.md 1; Celery 5.7 app/amqp.py): the order of headers and
properties is the order on Celery's wire.  Knows names and options, not tasks.
"""

from __future__ import annotations

import copy
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, tzinfo
from typing import Any
from uuid import NAMESPACE_OID, uuid3, uuid4

from .. import signals
from ..clock import LamportClock
from ..errors import BrokerError, EncodeError, PublishTimeout
from ..wire import codecs
from ..wire.message import Publication, encode_envelope
from ..wire.saferepr import MAX_LENGTH, PLAIN, saferepr
from .connection import NO_RETRY, Connection, RetryPolicy
from .drafts import BATCH, Draft, Gathering, gather, gathered
from .events import EventDispatcher
from .options import check_limits, check_priority, properties_among, signatures
from .routes import Router
from .timing import NO_TIMES, Times, times
from .unsendable import located

__all__ = ["BATCH", "Draft", "Gathering", "Producer", "gather", "node_name", "reply_queue"]

log = logging.getLogger("taskctl.producer")

_DELIVERY_MODES = {"persistent": 2, "transient": 1, "1": 1, "2": 2}

#: Part of every reply queue's name, in place of the network address.
_NODE = uuid4().int
_reply_queues: dict[tuple[int, int], str] = {}


class Producer:
    """Sends tasks by name.

    `owner` is any number that stays the same for one app: it goes into the name of the queue
    that rpc results come back to.  `publish_timeout` bounds one call, in seconds (None: none).
    Safe to use from several threads and after a fork, as far as its connection is.
    """

    def __init__(
        self,
        connection: Connection,
        router: Router,
        *,
        serializer: str = "json",
        compression: str | None = None,
        delivery_mode: int | str = 2,
        timezone: tzinfo = UTC,
        retry: bool = True,
        retry_policy: Mapping[str, Any] | None = None,
        publish_timeout: float | None = 5.0,
        repr_levels: int = 3,
        owner: int = 0,
        clock: LamportClock | None = None,
        sent_events: bool = False,
        event_exchange: str = "celeryev",
        event_serializer: str = "json",
    ) -> None:
        self.connection = connection
        self.router = router
        self.serializer = serializer
        self.compression = compression
        self.delivery_mode = _delivery_mode(delivery_mode)
        self.timezone = timezone
        self.retry = retry
        self.retry_policy = dict(retry_policy or {})
        self.publish_timeout = publish_timeout
        self.repr_levels = repr_levels
        self.owner = owner
        self.clock = clock or LamportClock()
        self.sent_events = sent_events
        self.event_exchange = event_exchange
        self.event_serializer = event_serializer

    def using(self, connection: Connection) -> Producer:
        """Return a producer like this one, over another connection."""
        other = copy.copy(self)
        other.connection = connection
        return other

    # --- out ----------------------------------------------------------------------------

    def send(self, name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> None:
        """Publish one call of the task `name`; `options` are those of `apply_async`, and ours.

        Inside `gather` or `batch`, the message is gathered instead.

        Raises EncodeError for arguments the serializer cannot write, QueueNotFound,
        BrokerConnectionError, and PublishTimeout if the broker did not take it in time.
        """
        task = options.pop("task_type", None)
        draft = self.draft(name, args, kwargs, options, task)
        if signals.before_task_publish.receivers:
            self._tell_before(draft)
        try:
            publication = self.seal(draft)
        except EncodeError as exc:
            raise located(exc, draft, task) from exc
        gathering = gathered.get()
        if gathering is not None:
            gathering.add(publication, draft, self)
            return
        try:
            self.connection.publish(
                [publication],
                queues=() if draft.queue is None else (draft.queue,),
                deadline=self.publish_timeout,
                policy=RetryPolicy.of(draft.retry_policy) if draft.retry else NO_RETRY,
            )
        except PublishTimeout as exc:
            raise _in_doubt([draft], exc) from exc
        self.tell_published(draft)

    def encode(self, name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> Publication:
        """Return the message of one call, for somebody else to publish."""
        with gather() as publications:
            self.send(name, args, kwargs, options)
        return publications[0]

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Publish what is sent inside in a few large steps, the last one at the end.

        Nothing more is published after an exception.  Inside `gather`, it does nothing.
        """
        if gathered.get() is not None:
            yield
            return
        gathering = Gathering(BATCH)
        token = gathered.set(gathering)
        try:
            yield
        finally:
            gathered.reset(token)
        gathering.flush(self)

    def publish(self, publications: list[Publication], drafts: list[Draft]) -> None:
        """Hand over several messages at once, as the first draft's retry options say."""
        first = drafts[0]
        queues = {draft.queue.name: draft.queue for draft in drafts if draft.queue is not None}
        try:
            self.connection.publish(
                publications,
                queues=list(queues.values()),
                deadline=self.publish_timeout,
                policy=RetryPolicy.of(first.retry_policy) if first.retry else NO_RETRY,
            )
        except PublishTimeout as exc:
            raise _in_doubt(drafts, exc) from exc
        for draft in drafts:
            self.tell_published(draft)

    def draft(
        self, name: str, args: Any, kwargs: Any, options: dict[str, Any], task: Any = None
    ) -> Draft:
        """Return the message of one call, not yet encoded; uses up `options`.

        Raises TypeError or ValueError for options that make no sense.
        """
        args, kwargs = _checked_arguments(name, args, kwargs)
        exchange, routing_key, queue, options = self.router.route(
            options, options.pop("route_name", None) or name, args, kwargs, task
        )
        take = options.pop
        eta, expires, expiration, due = self._times(options)
        headers = self._headers(name, args, kwargs, options)
        headers["eta"], headers["expires"] = eta, expires
        custom = take("headers", None)
        if custom:
            headers.update(custom)
        link, link_error = take("link", None), take("link_error", None)
        embed = {
            "callbacks": signatures(link, "link") if link else None,
            "errbacks": signatures(link_error, "link_error") if link_error else None,
            "chain": take("chain", None),
            "chord": take("chord", None),
        }
        if embed["chain"] or embed["chord"]:
            # RabbitMQ would drop the message in silence, and a chord would wait for ever.
            expiration = None
        properties: dict[str, Any] = {
            "correlation_id": headers["id"],
            "reply_to": take("reply_to", None) or reply_queue(self.owner),
        }
        serializer = take("serializer", None) or self.serializer
        compression = take("compression", None) or self.compression
        priority, ranking = take("priority", None), self.router.queues.ranking
        if priority is not None:
            check_priority(priority)
        if priority or ranking.turned:
            priority = ranking.wire(priority or 0, queue)
        mode = take("delivery_mode", None)
        if mode is None and queue is not None:
            mode = queue.exchange.delivery_mode
        retry, policy = take("retry", None), take("retry_policy", None)
        if options:
            properties.update(properties_among(options, name))
        return Draft(
            name,
            exchange,
            routing_key,
            queue,
            headers,
            properties,
            (args, kwargs, embed),
            serializer,
            compression,
            self.delivery_mode if mode is None else _delivery_mode(mode),
            expiration,
            priority or 0,
            due,
            self.retry if retry is None else bool(retry),
            {**self.retry_policy, **policy} if policy else dict(self.retry_policy),
        )

    def _headers(
        self, name: str, args: Any, kwargs: Any, options: dict[str, Any]
    ) -> dict[str, Any]:
        """Take the protocol's headers out of the options; all of them, in Celery's order."""
        take = options.pop
        task_id = take("task_id", None) or str(uuid4())
        hard, soft = take("time_limit", None), take("soft_time_limit", None)
        if hard is not None or soft is not None:
            check_limits(hard, soft)
        stamped = take("stamped_headers", None)
        return {
            "lang": "py",
            "task": name,
            "id": task_id,
            "shadow": take("shadow", None),
            "eta": None,
            "expires": None,
            "group": take("group_id", None),
            "group_index": take("group_index", None),
            "retries": take("retries", 0) or 0,
            "timelimit": [hard, soft],
            "root_id": take("root_id", None) or task_id,
            "parent_id": take("parent_id", None),
            "argsrepr": take("argsrepr", None) or _text(args, self.repr_levels),
            "kwargsrepr": take("kwargsrepr", None) or _text(kwargs, self.repr_levels),
            # Left in the options: with a retry it travels as a property too.
            "origin": options.get("origin") or node_name(),
            "ignore_result": take("ignore_result", None),
            "replaced_task_nesting": take("replaced_task_nesting", 0),
            "stamped_headers": stamped,
            "stamps": {stamp: take(stamp, None) for stamp in stamped or ()},
        }

    def seal(self, draft: Draft) -> Publication:
        """Return the finished message of a draft."""
        args, kwargs, embed = draft.body
        content_type, encoding, body = codecs.encode([args, kwargs, embed], draft.serializer)
        headers = draft.headers
        if draft.compression:
            headers["compression"], body = codecs.compress(body, draft.compression)
        properties = {**draft.properties, "delivery_mode": draft.delivery_mode}
        if draft.expiration is not None:
            properties["expiration"] = draft.expiration
        return Publication(
            exchange=draft.exchange,
            routing_key=draft.routing_key,
            envelope=encode_envelope(
                body,
                content_type=content_type,
                content_encoding=encoding,
                headers=headers,
                properties=properties,
                exchange=draft.exchange,
                routing_key=draft.routing_key,
                priority=draft.priority,
            ),
            priority=draft.priority
            and self.router.queues.ranking.place(draft.priority, draft.queue),
            due=draft.due,
            task_id=headers["id"],
        )

    def _times(self, options: dict[str, Any]) -> Times:
        """Take the times out of the options."""
        countdown, eta = options.pop("countdown", None), options.pop("eta", None)
        expires = options.pop("expires", None)
        if countdown is None and eta is None and expires is None:
            return NO_TIMES
        return times(countdown, eta, expires, self.timezone)

    # --- who listens --------------------------------------------------------------------

    def _tell_before(self, draft: Draft) -> None:
        signals.before_task_publish.send(
            sender=draft.name,
            body=draft.body,
            exchange=draft.exchange,
            routing_key=draft.routing_key,
            declare=[draft.queue] if draft.queue is not None else [],
            headers=draft.headers,
            properties=draft.properties,
            retry_policy=draft.retry_policy,
        )

    def tell_published(self, draft: Draft) -> None:
        """Send the event and the signals that say a message is on its way."""
        if self.sent_events:
            try:
                self._send_event(draft)
            except BrokerError as exc:
                # Who watches misses it; the call itself is not to fail for that.
                log.warning("no task-sent event for %s: %s", draft.headers["id"], exc)
        if not (signals.after_task_publish.receivers or signals.task_sent.receivers):
            return
        headers = draft.headers
        signals.after_task_publish.send(
            sender=draft.name,
            body=draft.body,
            headers=headers,
            exchange=draft.exchange,
            routing_key=draft.routing_key,
        )
        signals.task_sent.send(
            sender=draft.name,
            task_id=headers["id"],
            task=draft.name,
            args=draft.body[0],
            kwargs=draft.body[1],
            eta=headers["eta"],
            taskset=headers["group"],
        )

    def _send_event(self, draft: Draft) -> None:
        headers = draft.headers
        fields = {
            "uuid": headers["id"],
            "root_id": headers["root_id"],
            "parent_id": headers["parent_id"],
            "name": draft.name,
            "args": headers["argsrepr"],
            "kwargs": headers["kwargsrepr"],
            "retries": headers["retries"],
            "eta": headers["eta"],
            "expires": headers["expires"],
            "queue": draft.queue.name if draft.queue is not None else None,
            "exchange": draft.exchange,
            "routing_key": draft.routing_key,
        }
        self.send_event("task-sent", node_name(), fields)

    def send_event(self, event_type: str, hostname: str, fields: Mapping[str, Any]) -> None:
        """Send one monitoring event in the name of `hostname`, at once."""
        dispatcher = EventDispatcher(
            hostname,
            clock=self.clock,
            exchange=self.event_exchange,
            serializer=self.event_serializer,
        )
        self.connection.call(
            lambda broker: dispatcher.send(broker, event_type, **fields),
            deadline=self.publish_timeout,
            policy=RetryPolicy.of(self.retry_policy),
        )


def reply_queue(owner: int) -> str:
    """Return the name of the queue that results for this process and app come to.

    The threads share it, so that each may wait for what another sent; the form is kombu's for an
    id without a thread (protocol.md 1.1).
    """
    key = (os.getpid(), owner)
    name = _reply_queues.get(key)
    if name is None:
        name = str(uuid3(NAMESPACE_OID, f"{_NODE:x}-{key[0]:x}-0-{owner:x}"))
        _reply_queues[key] = name
    return name


_node_name = (0, "")


def node_name() -> str:
    """Return the name of this process as a sender, `gen<pid>@<host>`."""
    global _node_name
    pid = os.getpid()
    if _node_name[0] != pid:
        _node_name = (pid, f"gen{pid}@{socket.gethostname()}")
    return _node_name[1]


def _checked_arguments(name: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
    if args is None:
        args = ()
    elif not isinstance(args, list | tuple):
        raise TypeError(f"args of {name} must be a list or tuple, got {type(args).__name__}")
    if kwargs is None:
        kwargs = {}
    elif not isinstance(kwargs, Mapping):
        raise TypeError(f"kwargs of {name} must be a mapping, got {type(kwargs).__name__}")
    return args, kwargs


def _in_doubt(drafts: list[Draft], cause: PublishTimeout) -> PublishTimeout:
    first, more = drafts[0], len(drafts) - 1
    which = f"{first.name}[{first.headers['id']}]" + (f" and {more} more" if more else "")
    return PublishTimeout(f"{which} may not have been sent: {cause}")


def _text(arguments: Any, levels: int) -> str:
    """Return arguments as text; few and plain ones, as most are, without ado."""
    if not arguments:
        return "{}" if isinstance(arguments, Mapping) else "()" if arguments == () else "[]"
    if type(arguments) is tuple and len(arguments) < 9 and PLAIN.issuperset(map(type, arguments)):
        return repr(arguments)
    return saferepr(arguments, MAX_LENGTH, levels)


def _delivery_mode(mode: int | str) -> int:
    number = _DELIVERY_MODES.get(mode, mode) if isinstance(mode, str) else mode
    if number not in (1, 2):
        raise ValueError(f"unknown delivery_mode {mode!r}: choose 2 (persistent) or 1 (transient)")
    return int(number)
