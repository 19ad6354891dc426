"""Members of an app by Celery's and kombu's calls: queues, logs, connections, producers."""

from __future__ import annotations

import ast
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from taskctl.core import log as logs
from taskctl.core.errors import BrokerError, UnsupportedFeature
from taskctl.core.messaging.connection import Connection
from taskctl.core.redact import mask_url
from taskctl.core.settings_table import find_option
from taskctl.core.wire import codecs
from taskctl.core.wire.message import Publication, encode_envelope
from taskctl.core.wire.queues import Queue


def _absent(feature: str, instead: str) -> UnsupportedFeature:
    return UnsupportedFeature(feature, "kombu's channels have no counterpart", instead)


# --- app.amqp -----------------------------------------------------------------------------------


class Queues(dict[str, Queue]):
    """The queues of an app by name, as `app.amqp.queues`."""

    def __init__(self, app: Any) -> None:
        self._queues = app.queues
        super().__init__({name: app.queues[name] for name in app.queues})

    def __missing__(self, name: str) -> Queue:
        found: Queue = self._queues[name]
        self[name] = found
        return found

    @property
    def consume_from(self) -> dict[str, Queue]:
        """The queues a worker takes from."""
        return {queue.name: queue for queue in self._queues.selected}

    def add(self, queue: Any, **options: Any) -> Queue:
        """Make a queue known."""
        added: Queue = self._queues.add(queue, **options)
        self[added.name] = added
        return added

    def select(self, include: Any) -> None:
        """Take from these queues alone."""
        names = include.split(",") if isinstance(include, str) else list(include or ())
        self._queues.select(names)

    def deselect(self, exclude: Any) -> None:
        """Take from these queues no longer."""
        names = exclude.split(",") if isinstance(exclude, str) else list(exclude or ())
        for name in names:
            self._queues.deselect(name)

    def select_add(self, queue: Any, **options: Any) -> Queue:
        """Take from one more queue."""
        added: Queue = self._queues.select_add(queue, **options)
        self[added.name] = added
        return added


class AMQP:
    """Queues and routes of an app, as `app.amqp`."""

    def __init__(self, app: Any) -> None:
        self.app = app

    @property
    def queues(self) -> Queues:
        return Queues(self.app)

    @property
    def router(self) -> Any:
        return self.app.router

    @property
    def default_queue(self) -> Queue:
        found: Queue = self.app.queues[self.app.queues.default]
        return found

    @property
    def default_exchange(self) -> Any:
        return self.default_queue.exchange

    @property
    def utc(self) -> bool:
        return bool(self.app.conf.enable_utc)

    @property
    def producer_pool(self) -> Any:
        return self.app.producer_pool

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise _absent(f"app.amqp.{name}", "send with apply_async or app.send_task")


# --- app.log ------------------------------------------------------------------------------------


class Logging:
    """Sets logs up, as `app.log`."""

    already_setup = False

    def __init__(self, app: Any) -> None:
        self.app = app
        self.loglevel = logging.WARNING
        self.colorize = app.conf.worker_log_color

    def setup(
        self,
        loglevel: Any = None,
        logfile: Any = None,
        redirect_stdouts: bool = False,
        redirect_level: Any = "WARNING",
        colorize: bool | None = None,
        hostname: str | None = None,
    ) -> bool:
        """Send log lines to a file or stderr; return whether it was done here."""
        conf = self.app.conf
        type(self).already_setup = True
        return logs.setup(
            loglevel or self.loglevel,
            logfile,
            format=conf.worker_log_format,
            task_format=conf.worker_task_log_format,
            colour=self.colorize if colorize is None else colorize,
            hijack_root=conf.worker_hijack_root_logger,
            redirect_stdouts=redirect_stdouts,
            redirect_level=redirect_level or "WARNING",
            node=hostname,
        )

    def setup_logging_subsystem(
        self, loglevel: Any = None, logfile: Any = None, format: Any = None, colorize: Any = None,
        **_: Any,
    ) -> bool:  # fmt: skip
        """Send log lines to a file or stderr; once."""
        return not self.already_setup and self.setup(loglevel, logfile, colorize=colorize)

    def redirect_stdouts(self, loglevel: Any = None, name: str = "") -> None:
        """Let what is printed become log lines."""
        logs.redirect(loglevel or "WARNING")

    redirect_stdouts_to_logger = redirect_stdouts

    def setup_task_loggers(self, *args: Any, **kwargs: Any) -> logging.Logger:
        """Return the logger of tasks, which `setup` has set up."""
        return logs.task_logger

    def setup_handlers(
        self, logger: logging.Logger, logfile: Any, format: str, colorize: bool | None = None,
        formatter: Callable[..., logging.Formatter] = logs.TextFormatter, **_: Any,
    ) -> logging.Logger:  # fmt: skip
        """Give a logger that has none a handler."""
        if not logger.handlers:
            handler = logs.open_handler(logfile)
            handler.setFormatter(formatter(format))
            logger.addHandler(handler)
        return logger

    def get_default_logger(self, name: str = "celery", **_: Any) -> logging.Logger:
        """Return the logger of that name."""
        return logging.getLogger(name)

    def supports_color(self, colorize: bool | None = None, logfile: Any = None) -> bool:
        """Return whether log lines would have colours."""
        return logs._wants_colour(colorize, logfile)


# --- connections --------------------------------------------------------------------------------


class queue_declare_ok_t(NamedTuple):
    """What the broker says of a queue."""

    queue: str
    message_count: int
    consumer_count: int


class ConnectionFace(Connection):
    """A connection with the calls of kombu's that programs make on one."""

    @property
    def connected(self) -> bool:
        """Whether it is open."""
        return self._broker is not None

    @property
    def hostname(self) -> str:
        return self.url

    @property
    def transport_cls(self) -> str:
        return self.url.partition(":")[0]

    def connect(self) -> Any:
        """Open it; return it."""
        self.open()
        return self

    def ensure_connection(
        self, errback: Any = None, max_retries: int | None = None, interval_start: float = 2,
        interval_step: float = 2, interval_max: float = 30, **_: Any,
    ) -> Any:  # fmt: skip
        """Open it, trying again; return it.  Raises BrokerConnectionError at the last."""
        tries = 0
        while True:
            try:
                self.open()
                return self
            except BrokerError as exc:
                tries += 1
                if max_retries is not None and tries > max_retries:
                    raise
                wait = min(interval_start + (tries - 1) * interval_step, interval_max)
                if errback is not None:
                    errback(exc, wait)
                time.sleep(wait)

    ensure = connect

    def release(self) -> None:
        """Let go of it."""
        self.close()

    def clone(self, **_: Any) -> ConnectionFace:
        """Return another one to the same broker."""
        return ConnectionFace(self.urls, options=self.options, timeout=self.timeout)

    def as_uri(self, include_password: bool = False, mask: str = "**", **_: Any) -> str:
        """Return its URL, without the password unless that is wanted."""
        return self.url if include_password else mask_url(self.url)

    def heartbeat_check(self, rate: int = 2) -> None:
        """Nothing: the broker's file looks after that itself."""

    @property
    def default_channel(self) -> ChannelFace:
        """The queues behind it."""
        return ChannelFace(self)

    def channel(self) -> ChannelFace:
        """Return the queues behind it."""
        return ChannelFace(self)

    def drain_events(self, *args: Any, **kwargs: Any) -> None:
        raise _absent("Connection.drain_events", "use a task, or app.events.Receiver for events")

    def SimpleQueue(self, *args: Any, **kwargs: Any) -> None:
        raise _absent("Connection.SimpleQueue", "send a task instead")

    def Consumer(self, *args: Any, **kwargs: Any) -> None:
        raise _absent("Connection.Consumer", "use a task, or app.events.Receiver for events")

    def Producer(self, *args: Any, **kwargs: Any) -> ProducerFace:
        """Return what publishes through it."""
        return ProducerFace(None, self)


class ChannelFace:
    """The queues behind a connection, by the calls of an AMQP channel."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def __enter__(self) -> ChannelFace:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing: the connection stays."""

    def queue_declare(
        self, queue: str = "", passive: bool = False, **options: Any
    ) -> queue_declare_ok_t:
        """Make a queue exist; with `passive` only say how many messages wait in it.

        Raises BrokerError if it is not there, with `passive`.
        """

        def declare(broker: Any) -> queue_declare_ok_t:
            if passive and not broker.exists(queue):
                raise BrokerError(f"there is no queue {queue!r}")
            if not passive:
                known = {k: v for k, v in options.items() if k in Queue.__struct_fields__}
                broker.declare(Queue(name=queue, routing_key=queue, **known))
            return queue_declare_ok_t(queue, broker.size(queue), 0)

        return self.connection.call(declare)

    def queue_purge(self, queue: str, **_: Any) -> int:
        """Drop what waits in a queue; return how many messages."""
        return self.connection.call(lambda broker: broker.purge(queue))

    def queue_delete(self, queue: str, **_: Any) -> int:
        """Delete a queue; return how many messages were in it."""
        return self.connection.call(lambda broker: broker.delete(queue))

    @property
    def client(self) -> Any:
        """The driver's client of a redis broker, on a connection of its own."""
        if not self.connection.url.startswith(("redis://", "rediss://")):
            raise _absent("channel.client", "it is there with a redis broker alone")
        import redis  # the driver, where the broker is one

        return redis.Redis.from_url(self.connection.url)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise _absent(f"channel.{name}", "see 'taskctl amqp' for what RabbitMQ can be told")


class ProducerFace:
    """A producer with kombu's `publish`; calls of tasks take it as `producer=`."""

    def __init__(self, app: Any, connection: Connection | None = None) -> None:
        self._app = app
        self._connection = connection or app.shared_connection()
        self._producer = None if app is None else app.producer

    @property
    def connection(self) -> Connection:
        return self._connection

    def __enter__(self) -> ProducerFace:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Nothing: it is the app's."""

    def release(self) -> None:
        """Nothing: it is the app's."""

    close = release

    def publish(
        self,
        body: Any,
        routing_key: str = "",
        delivery_mode: int | None = None,
        mandatory: bool = False,
        immediate: bool = False,
        priority: int = 0,
        content_type: str | None = None,
        content_encoding: str | None = None,
        serializer: str | None = None,
        headers: dict[str, Any] | None = None,
        compression: str | None = None,
        exchange: Any = "",
        retry: bool = False,
        retry_policy: Any = None,
        declare: Any = (),
        **properties: Any,
    ) -> None:
        """Publish a body of any kind."""
        if content_type:
            encoding = content_encoding or "utf-8"
            data = body.encode(encoding) if isinstance(body, str) else body
        else:
            content_type, encoding, data = codecs.encode(body, serializer or "json")
        headers = dict(headers or {})
        if compression:
            found = codecs.compression_named(compression)
            data, headers["compression"] = found.compress(data), found.content_type
        where = getattr(exchange, "name", exchange) or ""
        envelope = encode_envelope(
            data,
            content_type=content_type,
            content_encoding=encoding,
            headers=headers,
            properties={"delivery_mode": delivery_mode or 2, **properties},
            exchange=where,
            routing_key=routing_key,
            priority=priority or 0,
        )
        one = Publication(
            exchange=where, routing_key=routing_key, envelope=envelope, priority=priority or 0
        )
        self._connection.publish([one], queues=[q for q in declare or () if isinstance(q, Queue)])

    def __getattr__(self, name: str) -> Any:
        if self._producer is None or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._producer, name)


class Lender:
    """Lends one thing to everybody, by the calls of a kombu pool: our own is safe to share."""

    def __init__(self, lend: Callable[[], Any]) -> None:
        self._lend = lend
        self.limit: int | None = None

    @contextlib.contextmanager
    def acquire(self, block: bool = False, timeout: float | None = None) -> Iterator[Any]:
        """Lend it for a while."""
        yield self._lend()

    def release(self, resource: Any) -> None:
        """Take it back."""

    def force_close_all(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: connections are closed with the app."""


# --- settings on a command line -----------------------------------------------------------------


def settings_of_words(argv: Sequence[str], namespace: str) -> dict[str, Any]:
    """Return what words such as `worker.concurrency=2` and `.concurrency=2` say.

    Raises ValueError for a word that is none.
    """
    found: dict[str, Any] = {}
    for word in argv:
        key, sep, text = word.partition("=")
        if not sep:
            raise ValueError(f"{word!r}: key=value expected")
        name = key.replace(".", "_")
        if name.startswith("_"):
            name = f"{namespace}{name}"
        option = find_option(name, namespace)
        with contextlib.suppress(ValueError, SyntaxError):
            text = ast.literal_eval(text)
        found[f"{option[0]}_{option[1]}".lstrip("_") if option else name] = text
    return found
