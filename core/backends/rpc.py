"""Results as messages to the caller, through the broker of the app: `rpc://` (protocol.md 6.5).

A worker sends each meta to the queue its request names in `reply_to`; a client reads the queue
that its own calls name, and keeps here what it has read until somebody asks.  So a result is
seen by the process that made the call and by no other, and there are neither chords nor saved
groups.  The one sibling that may import messaging.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from ..errors import BackendError, BrokerConnectionError, BrokerError, DecodeError
from ..messaging.connection import Connection
from ..messaging.consumer import Broker
from ..wire.message import (
    PERSISTENT,
    TRANSIENT,
    Message,
    Publication,
    decode_envelope,
    encode_envelope,
)
from ..wire.outcome import StoredMeta
from ..wire.queues import Queue
from ..wire.result_meta import LabelledMeta, says_success
from .base import Backend, is_news
from .watching import Bell, Watch, await_readable

logger = logging.getLogger(__name__)

#: Answers taken from the broker at once.
_TAKE = 500
#: Seconds between two looks at the reply queue while its descriptor is silent: (first, longest).
_NAPS = (0.001, 0.05)
#: Seconds between two tries of a wait whose broker is away: (first, longest).
_RETRIES = (0.05, 1.0)
#: Seconds one step with the broker may take, and the last words at the end of the process.
_PATIENCE, _FAREWELL = 5.0, 1.0
#: Metas kept of results nobody has asked for; beyond it the oldest are dropped.
_KEPT = 100_000
_FOR_EVER = float("inf")
#: Seconds an unused reply queue is kept where results are kept for ever: it must go one day.
_QUEUE_EXPIRES = 86400.0


class Post(NamedTuple):
    """How results travel: `connect` returns a connection of the backend's own, `queue` the name
    of this process's reply queue; content type and encoding are those of the metas; `persistent`
    answers outlive a restart of the broker."""

    connect: Callable[[], Connection]
    queue: Callable[[], str]
    content_type: str = "application/json"
    content_encoding: str = "utf-8"
    persistent: bool = False


class RpcBackend(Backend):
    """Results on their way; the threads of a process read one queue, taking turns.

    Connects when it is first asked for a result, or has one to send.  After a fork a process has
    a queue of its own, and nothing of its parent's results.
    """

    persistent = False
    travels = True
    joins_chords = False

    def __init__(self, url: str, *, post: Post | None = None, **settings: Any) -> None:
        super().__init__(url, **settings)
        if post is None:
            raise BackendError("rpc:// sends results through the broker of an app: use app.backend")
        self._post = post
        self._connection = post.connect()
        self._kept: dict[str, tuple[bytes, float]] = {}
        #: The queue this process has declared, as (pid, name).
        self._announced: list[tuple[int, str]] = []
        self._start()
        weakref.finalize(self, _farewell, self._connection, self._announced)

    def _start(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._reading = False
        self._declared = False
        self._overflowed = False
        self._descriptor: int | None = None
        self._kept.clear()
        self._announced.clear()

    def _notice_fork(self) -> None:
        if self._pid != os.getpid():
            self._start()

    def open(self) -> None:
        """Nothing is opened before it is needed: most processes send tasks and read nothing."""

    def close(self) -> None:
        """Let go of the broker, and of the reply queue: nobody else can read it."""
        self._notice_fork()
        _farewell(self._connection, self._announced)
        self._declared = False

    def prepare(self, broker: Broker) -> None:
        """Make sure that the reply queue exists, before a task is published over `broker`."""
        self._notice_fork()
        if not self._announced:
            self._declare(broker)

    def _declare(self, broker: Broker) -> None:
        queue = self._queue()
        broker.declare(queue)
        if not self._announced:
            self._announced.append((self._pid, queue.name))

    def _queue(self) -> Queue:
        # Celery's is auto-delete as well, and so loses what comes while the client reconnects.
        return Queue(name=self._post.queue(), expires=self.expires or _QUEUE_EXPIRES)

    # --- sending ----------------------------------------------------------------------------

    def store(self, batch: Sequence[StoredMeta]) -> None:
        """Send each meta whose request says where to; the others have nobody who waits."""
        letters = [self._letter(item) for item in batch if item.reply_to]
        if not letters:
            return
        try:
            self._connection.publish(letters, deadline=_PATIENCE)
        except BrokerError as exc:
            raise self._error(exc) from exc

    def _letter(self, item: StoredMeta) -> Publication:
        assert item.reply_to is not None
        post = self._post
        envelope = encode_envelope(
            item.meta,
            content_type=post.content_type,
            content_encoding=post.content_encoding,
            headers={},
            properties={
                "correlation_id": item.correlation_id or item.task_id,
                "delivery_mode": PERSISTENT if post.persistent else TRANSIENT,
            },
            exchange="",
            routing_key=item.reply_to,
        )
        lifetime = self.lifetime(item.state) or _QUEUE_EXPIRES
        return Publication(
            exchange="", routing_key=item.reply_to, envelope=envelope, queue_expires=lifetime
        )

    # --- reading ----------------------------------------------------------------------------

    def load(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        if not task_ids:
            return {}
        return self.wait(task_ids, 0.0)

    def wait(
        self,
        task_ids: Sequence[str],
        deadline: float | None,
        known: Mapping[str, bytes] | None = None,
    ) -> dict[str, bytes]:
        """As the contract says; a broker that is away is tried again until the deadline.

        One thread at a time reads the queue, for all that wait.
        """
        return self.wait_until_rung(task_ids, deadline, known, None)

    def wait_until_rung(
        self,
        task_ids: Sequence[str],
        deadline: float | None,
        known: Mapping[str, bytes] | None,
        bell: Bell | None,
    ) -> dict[str, bytes]:
        """As `wait`; with a bell, it ends when the bell is rung."""
        self._notice_fork()
        retry, longest = _RETRIES
        looked, nap = False, _NAPS[0]
        while True:
            with self._changed:
                metas = self._of(task_ids)
                remaining = _FOR_EVER if deadline is None else deadline - time.monotonic()
                rung = bell is not None and bell.rung
                if looked and (rung or remaining <= 0 or is_news(metas, known)):
                    return metas
                if self._reading:
                    looked = True
                    self._changed.wait(min(max(remaining, _NAPS[0]), _NAPS[1]))
                    continue
                self._reading = True
            try:
                found = self._read(min(remaining, nap) if looked else 0.0, bell)
                looked, nap = True, _NAPS[0] if found else min(nap * 2, _NAPS[1])
                retry = _RETRIES[0]
            except BackendError as exc:
                if remaining <= 0 or not isinstance(exc.__cause__, BrokerConnectionError):
                    raise
                if retry == _RETRIES[0]:
                    logger.warning("%s; still waiting, trying again", exc)
                time.sleep(min(retry, remaining))
                retry = min(retry * 2, longest)
            finally:
                with self._changed:
                    self._reading = False
                    self._changed.notify_all()

    def watch(self) -> Watch:
        return _RpcWatch(self)

    def _read(self, timeout: float, bell: Bell | None) -> bool:
        """Take what is there, waiting up to `timeout` seconds; return whether anything was."""
        try:
            rang = timeout > 0 and self._rings(timeout, bell)
            if bell is not None and bell.rung:
                return False
            found = False
            while envelopes := self._connection.call(self._take, deadline=_PATIENCE):
                found = True
                self._keep(envelopes)
                if len(envelopes) < _TAKE:
                    break
            if rang and not found:
                time.sleep(_NAPS[0])  # it rang for something else, and may go on to
            return found
        except (BrokerError, OSError, ValueError) as exc:
            self._declared, self._descriptor = False, None
            if isinstance(exc, BrokerError):
                raise self._error(exc) from exc
            lost = BrokerConnectionError(f"the line is closed: {exc}")
            raise self._error(lost) from lost

    def _take(self, broker: Broker) -> list[bytes]:
        if not self._declared:
            self._declare(broker)
            self._declared = True
        taken = broker.take(self._post.queue(), _TAKE)
        self._descriptor = broker.fileno()
        return taken

    def _rings(self, timeout: float, bell: Bell | None) -> bool:
        """Wait for the broker's descriptor, or the bell; return whether one is readable."""
        descriptor = self._descriptor
        ears = [] if bell is None else [bell]
        return descriptor is not None and await_readable([descriptor, *ears], timeout)

    def _keep(self, envelopes: Sequence[bytes]) -> None:
        now = time.monotonic()
        with self._changed:
            for envelope in envelopes:
                try:
                    message = decode_envelope(envelope)
                except DecodeError as exc:
                    logger.warning("dropped an answer of the reply queue: %s", exc)
                    continue
                self._keep_one(message, now)
            self._tidy(now)
            self._changed.notify_all()

    def _keep_one(self, message: Message, now: float) -> None:
        task_id = str(message.properties.get("correlation_id") or "")
        held, expiry = self._kept.get(task_id, (b"", 0.0))
        if expiry > now and says_success(held):
            return
        meta = LabelledMeta(message.body, message.content_type, message.content_encoding)
        self._kept.pop(task_id, None)
        self._kept[task_id] = (meta, now + (self.expires or _FOR_EVER))

    def _tidy(self, now: float) -> None:
        """Drop what is too old; the oldest stand first."""
        while self._kept:
            oldest = next(iter(self._kept))
            crowded = len(self._kept) > _KEPT
            if not crowded and self._kept[oldest][1] > now:
                return
            if crowded and not self._overflowed:
                self._overflowed = True
                logger.warning(
                    "more than %d results were read that nobody asked for: the oldest are dropped;"
                    " set ignore_result for tasks whose results are not wanted",
                    _KEPT,
                )
            del self._kept[oldest]

    def _of(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        now = time.monotonic()
        found = ((task_id, self._kept[task_id]) for task_id in task_ids if task_id in self._kept)
        return {task_id: meta for task_id, (meta, expiry) in found if expiry > now}

    def forget(self, task_ids: Sequence[str]) -> None:
        if not task_ids:
            return
        self.load(task_ids[:1])  # what has come of them must not come back
        with self._changed:
            for task_id in task_ids:
                self._kept.pop(task_id, None)

    def find(self, prefix: str, limit: int = 10) -> list[str]:
        self.load([prefix])
        with self._changed:
            begun = [task_id for task_id in self._kept if task_id.startswith(prefix)]
            return list(self._of(begun))[:limit]

    # --- groups -----------------------------------------------------------------------------

    def store_group(self, group_id: str, value: bytes) -> None:
        _no_groups()

    def load_group(self, group_id: str) -> bytes | None:
        _no_groups()

    def forget_group(self, group_id: str) -> None:
        _no_groups()

    def expire(self) -> int:
        return 0

    def may_pass(self, exc: BackendError) -> bool:
        return isinstance(exc.__cause__, BrokerConnectionError)

    def _error(self, exc: BrokerError) -> BackendError:
        return BackendError(f"result backend rpc://: {exc}")


class _RpcWatch(Watch):
    """Reads the reply queue; the only one to do so, as long as no thread waits for results."""

    def __init__(self, backend: RpcBackend) -> None:
        super().__init__(backend.load)
        self._backend = backend
        #: What is waited for, and what was told of it.
        self._ids: dict[str, None] = {}
        self._told: dict[str, bytes] = {}

    def hear(self, timeout: float) -> dict[str, bytes]:
        coming, going = self.changes()
        for task_id in (*going, *coming):
            self._ids.pop(task_id, None)
            self._told.pop(task_id, None)
        self._ids.update(dict.fromkeys(coming))
        deadline = time.monotonic() + timeout
        metas = self._backend.wait_until_rung(list(self._ids), deadline, self._told, self.bell)
        news = {task_id: m for task_id, m in metas.items() if self._told.get(task_id) != m}
        self._told.update(news)
        return news


def _no_groups() -> NoReturn:
    raise BackendError(
        "the result backend rpc:// keeps no groups: a result is a message to the one who called;"
        " use redis://, sqlite:// or a database to save groups"
    )


def _farewell(connection: Connection, announced: list[tuple[int, str]]) -> None:
    """Delete the reply queue that this process declared, and close the line.

    Where that fails, the queue goes away by itself, once it has been unused for its time.
    """
    names = [name for pid, name in announced if pid == os.getpid()]
    announced.clear()
    with contextlib.suppress(BrokerError, OSError):
        if names:
            connection.call(lambda broker: broker.delete(names[0]), deadline=_FAREWELL)
    connection.close()
