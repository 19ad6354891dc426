"""Keep a broker open: failover, back-off, deadlines, a new line after a fork.

A Connection may be shared by the threads of a process; they take turns.  The worker's loop, which
is one thread, uses `broker` directly.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from ..brokers import open_broker
from ..brokers.base import Broker
from ..errors import BrokerConnectionError, PublishTimeout
from ..redact import mask_url
from ..wire.message import Publication
from ..wire.queues import Queue

log = logging.getLogger("taskctl.connection")
T = TypeVar("T")

#: Brokers inherited through a fork.  Closing one would speak on the parent's line, and so might
#: its destructor: they are kept for as long as the process lives.
_inherited: list[Broker] = []


class RetryPolicy(NamedTuple):
    """How often and how soon to try again; seconds, float.

    Celery's `task_publish_retry_policy`.  `max_retries` None means until the deadline.
    """

    max_retries: int | None = 3
    interval_start: float = 0.0
    interval_step: float = 0.2
    interval_max: float = 1.0

    def delays(self) -> Iterator[float]:
        """Yield how long to wait before each further try."""
        tried = 0
        while self.max_retries is None or tried < self.max_retries:
            yield min(self.interval_start + tried * self.interval_step, self.interval_max)
            tried += 1

    @classmethod
    def of(cls, settings: Mapping[str, Any] | None) -> RetryPolicy:
        """Return the policy a settings dict describes; unknown keys are left alone."""
        known = {k: v for k, v in (settings or {}).items() if k in cls._fields}
        return cls(**known)


#: One try, for those who do not want to wait.
NO_RETRY = RetryPolicy(max_retries=0)


class Connection:
    """A broker that is opened when needed, at the first of `urls` that answers.

    `timeout` bounds one attempt to connect, in seconds.  Raises BrokerConnectionError when none
    answers.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        options: Mapping[str, Any] | None = None,
        owner: str | None = None,
        timeout: float = 4.0,
    ) -> None:
        self.urls = split_urls(urls)
        self.options = options or {}
        self.owner = owner
        self.timeout = timeout
        #: Called with the broker before anything is published; see `backends/rpc.py`.
        self.prepare: Callable[[Broker], None] | None = None
        self._lock = threading.RLock()
        self._broker: Broker | None = None
        # A broker that is opened again remembers what it was told last: a fetch whose answer was
        # lost on the way is given back by the same object, so it is kept over a loss.
        self._brokers: dict[str, Broker] = {}
        self._declared: set[str] = set()
        self._pid = os.getpid()

    @property
    def url(self) -> str:
        """The URL in use, or the one that will be tried first."""
        return self._broker.url if self._broker is not None else self.urls[0]

    @property
    def broker(self) -> Broker:
        """The open broker of this process."""
        return self.open()

    def open(self, timeout: float | None = None) -> Broker:
        """Return the open broker; connect if need be, within `timeout` seconds a URL."""
        if self._pid != os.getpid():
            self._forget_parent()
        if self._broker is None:
            self._broker = self._connect(self.timeout if timeout is None else timeout)
        return self._broker

    def _forget_parent(self) -> None:
        """Leave the parent's line alone, with the lock that may be held in it."""
        _inherited.extend(self._brokers.values())
        self._brokers = {}
        self._broker = None
        self._declared = set()
        self._lock = threading.RLock()
        self._pid = os.getpid()

    def _connect(self, timeout: float) -> Broker:
        failure: BrokerConnectionError | None = None
        for position, url in enumerate(self.urls):
            broker = self._brokers.get(url)
            if broker is None:
                broker = open_broker(url, options=self.options, owner=self.owner)
                self._brokers[url] = broker
            try:
                broker.open(timeout)
            except BrokerConnectionError as exc:
                failure = exc
                continue
            # The one that answered is tried first next time.
            self.urls = [*self.urls[position:], *self.urls[:position]]
            self._declared = set()
            return broker
        assert failure is not None
        raise failure

    def idle_options(self) -> dict[str, str]:
        """Return the options that change nothing at some broker of the list, and why; open none.

        Raises ImproperlyConfigured for an option that a broker refuses.
        """
        idle: dict[str, str] = {}
        for url in self.urls:
            idle |= open_broker(url, options=self.options).idle_options()
        return idle

    def drop(self) -> None:
        """Close a line that broke; the next use opens another."""
        broker, self._broker = self._broker, None
        if broker is not None and self._pid == os.getpid():
            with contextlib.suppress(BrokerConnectionError):
                broker.close()

    def close(self) -> None:
        """Let go of the broker; using the connection again opens it again."""
        with self._lock:
            self.drop()

    def __enter__(self) -> Connection:
        self.open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def call(
        self,
        action: Callable[[Broker], T],
        *,
        deadline: float | None = 5.0,
        policy: RetryPolicy = NO_RETRY,
    ) -> T:
        """Return `action(broker)`, trying again as `policy` says, at most `deadline` seconds.

        `action` runs while no other thread uses the broker.  Raises BrokerConnectionError when the
        tries are used up, PublishTimeout when the time is.
        """
        until = None if deadline is None else time.monotonic() + deadline
        delays = policy.delays()
        while True:
            try:
                with self._turn(until) as broker:
                    return action(broker)
            except PublishTimeout:
                raise
            except BrokerConnectionError as exc:
                delay = next(delays, None)
                if delay is None:
                    raise
                if until is not None and time.monotonic() + delay >= until:
                    raise PublishTimeout(f"{exc} (gave up after {deadline:g} s)") from exc
                log.debug("%s; trying again in %.1f s", exc, delay)
                time.sleep(delay)

    @contextlib.contextmanager
    def _turn(self, until: float | None) -> Iterator[Broker]:
        """Give the open broker to this thread alone; one that breaks is dropped."""
        if self._pid != os.getpid():
            self._forget_parent()
        remaining = -1.0 if until is None else max(0.0, until - time.monotonic())
        if not self._lock.acquire(timeout=remaining):
            raise PublishTimeout(f"broker {mask_url(self.url)}: busy in another thread")
        try:
            try:
                yield self.open(min(self.timeout, remaining) if remaining > 0 else None)
            except BrokerConnectionError:
                self.drop()
                raise
        finally:
            self._lock.release()

    def publish(
        self,
        publications: Sequence[Publication],
        *,
        queues: Sequence[Queue] = (),
        deadline: float | None = 5.0,
        policy: RetryPolicy = NO_RETRY,
    ) -> None:
        """Hand over messages; `queues` are declared first, once a connection.

        Raises BrokerConnectionError or PublishTimeout; then nobody can say whether the messages
        arrived.
        """

        def publish(broker: Broker) -> None:
            if self.prepare is not None:
                self.prepare(broker)
            for queue in queues:
                if queue.name not in self._declared:
                    broker.declare(queue)
                    self._declared.add(queue.name)
            broker.publish(publications)

        self.call(publish, deadline=deadline, policy=policy)

    def declare(self, queue: Queue) -> None:
        """Make a queue exist."""
        self.call(lambda broker: broker.declare(queue))

    def __repr__(self) -> str:
        state = "open" if self._broker is not None else "closed"
        return f"<Connection {mask_url(self.url)} {state}>"


def split_urls(urls: str | Sequence[str]) -> list[str]:
    """Return the single URLs of a list, or of a string with `;` between them.

    Sentinels that follow each other are one broker: their URLs stay one text.
    """
    if isinstance(urls, str):
        urls = urls.split(";")
    single: list[str] = []
    for url in (url.strip() for url in urls if url.strip()):
        if single and url.startswith("sentinel://") and single[-1].startswith("sentinel://"):
            single[-1] = f"{single[-1]};{url}"
        else:
            single.append(url)
    return single
