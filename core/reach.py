"""What an app reaches: broker, queues, results, workers; each built from its settings.

The one place where settings become parts.  The parts are handed values and read no settings, so
each is thrown away and built anew when a setting changes.
"""

from __future__ import annotations

import functools
import itertools
import logging
import random
import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any, cast

from .backends import Backend
from .clock import LamportClock, local_zone, maybe_seconds, utcnow, zone
from .config import Settings
from .errors import BrokerError
from .kin import Kin
from .limiter_place import make_limiter
from .loader import default_database_path
from .messaging.connection import Connection, split_urls
from .messaging.mailbox import ClientMailbox
from .messaging.priorities import ranking_of
from .messaging.private_queues import control_queue, event_queue
from .messaging.producer import Producer, node_name, reply_queue
from .messaging.routes import Queues, Router
from .remote.app_events import Events
from .remote.control import Control
from .report import broker_info, bug_report
from .result_place import ResultPlace
from .tasks.revoking import RevokeEscort
from .tasks.task import Calling
from .version import __version__
from .ways import CELERY_BROKER, celerys
from .wire.queues import Queue

if TYPE_CHECKING:
    from .backends.rpc import RpcBackend
    from .limiters import Limiter

log = logging.getLogger("taskctl.app")

#: What is worked out from settings, and thrown away when one changes.
_FROM_SETTINGS = (
    "calling", "queues", "router", "control", "events", "timezone", "annotations", "backend",
    "limiter",
)  # fmt: skip

#: Schemes that have a sister over TLS.
_TLS = {"redis": "rediss", "amqp": "amqps", "pyamqp": "amqps"}
#: Settings that are options of RabbitMQ, but for the word broker.
_AMQP_OPTIONS = (
    "broker_heartbeat",
    "broker_login_method",
    "broker_native_delayed_delivery_queue_type",
)


class Reach(Kin):
    """The half of an app that faces outward.

    `home` is the file in which the app was made, or None: the queue that needs no URL is there.
    """

    version = __version__

    def __init__(self, home: str | None) -> None:
        self.clock = LamportClock()
        self.conf: Settings = None  # type: ignore[assignment]  # set by App
        self._home = home
        self._lock = threading.RLock()
        self._open_connection: tuple[Any, Connection] | None = None
        self._open_backend: tuple[Any, Backend] | None = None

    def settings_changed(self) -> None:
        """Throw away what was built from settings."""
        for name in _FROM_SETTINGS:
            self.__dict__.pop(name, None)

    def close(self) -> None:
        """Let go of all connections; using the app again opens them again."""
        with self._lock:
            if self._open_connection is not None:
                self._open_connection[1].close()
            if self._open_backend is not None:
                self._open_backend[1].close()
            self._open_connection = self._open_backend = None
            self.settings_changed()

    def settle_here(self) -> None:
        """Belong to the working directory, wherever the app was made: the queue is there."""
        self._home = None

    # --- time -----------------------------------------------------------------------------

    @functools.cached_property
    def timezone(self) -> tzinfo:
        """The zone of times without an offset."""
        if self.conf.timezone:
            return zone(self.conf.timezone)
        return UTC if self.conf.enable_utc else local_zone()

    def now(self) -> datetime:
        """Return the current time in the app's zone."""
        return utcnow().astimezone(self.timezone)

    # --- broker ---------------------------------------------------------------------------

    def broker_url(self) -> str:
        """Return the broker's URL, the first one if there are several."""
        return self.broker_urls()[0]

    def broker_urls(self) -> list[str]:
        """Return the broker's URLs, in the order they are tried.

        Without a setting it is a SQLite file beside the code of the app, where all processes of
        one checkout meet; where Celery's ways hold, RabbitMQ on this host.
        """
        conf = self.conf
        urls = split_urls(conf.broker_write_url or ())
        if not urls and celerys():
            urls = [CELERY_BROKER]
        if not urls:
            return [f"sqlite:///{default_database_path(self._home)}"]
        if conf.broker_transport:
            urls = [url if "://" in url else f"{conf.broker_transport}://{url}" for url in urls]
        urls = [_over_tls(url, conf.broker_use_ssl) for url in urls]
        return _in_order(urls, conf.broker_failover_strategy)

    def broker_options(self) -> dict[str, Any]:
        """Return the options of the broker, its TLS settings among them."""
        conf = self.conf
        options = dict(conf.broker_transport_options or {})
        if isinstance(conf.broker_use_ssl, Mapping):
            options.setdefault("ssl", dict(conf.broker_use_ssl))
        elif conf.broker_use_ssl and str(conf.broker_url).startswith("sentinel://"):
            # Sentinels are named without TLS; this is for the server they name.
            options.setdefault("ssl", {})
        if all("amqp" in url.partition("://")[0] for url in self.broker_urls()):
            for name in _AMQP_OPTIONS:
                options.setdefault(name.removeprefix("broker_"), conf[name])
        return options

    def connection(self, url: str | list[str] | None = None, **options: Any) -> Connection:
        """Return a connection of the caller's own; it opens when it is used."""
        kind: type[Connection] = self.connection_class() if celerys() else Connection
        return kind(
            url or self.broker_urls(),
            options={**options, **self.broker_options()},
            timeout=maybe_seconds(self.conf.broker_connection_timeout) or 4.0,
        )

    connection_for_read = connection_for_write = connection

    def shared_connection(self) -> Connection:
        """Return the connection that calls and commands of this app share."""
        conf = self.conf
        limit = maybe_seconds(conf.broker_publish_timeout)
        # Not the order of the URLs: a strategy may shuffle them anew each time.
        urls = self.broker_urls()
        key = (sorted(urls), self.broker_options(), conf.broker_connection_timeout, limit)
        with self._lock:
            if self._open_connection is None or self._open_connection[0] != key:
                if self._open_connection is not None:
                    self._open_connection[1].close()
                # A server that hangs must not hold a caller longer than the caller will wait.
                patience = {"socket_timeout": limit} if limit and "redis" in urls[0][:6] else {}
                self._open_connection = (key, self.connection(urls, **patience))
            return self._open_connection[1]

    # --- queues ---------------------------------------------------------------------------

    @functools.cached_property
    def queues(self) -> Queues:
        """The queues that are known."""
        conf = self.conf
        return Queues(
            conf.task_queues,
            default=conf.task_default_queue,
            default_exchange=conf.task_default_exchange,
            default_exchange_type=conf.task_default_exchange_type,
            default_routing_key=conf.task_default_routing_key,
            default_type=conf.task_default_queue_type,
            create_missing=conf.task_create_missing_queues,
            create_missing_type=conf.task_create_missing_queue_type,
            create_missing_exchange_type=conf.task_create_missing_queue_exchange_type,
            max_priority=conf.task_queue_max_priority,
            ranking=ranking_of(self.broker_urls(), conf.task_priority_order),
        )

    @functools.cached_property
    def router(self) -> Router:
        """What decides which queue a call goes to."""
        return Router(self.conf.task_routes, self.queues)

    def select_queues(
        self,
        queues: str | Iterable[str] | None = None,
        exclude: str | Iterable[str] | None = None,
    ) -> list[Queue]:
        """Choose the queues a worker takes from, by name (commas part names); return them."""
        return self.queues.select(_names(queues), _names(exclude))

    def known_queue(self, name: str) -> Queue | None:
        """Return a queue of the settings by name, or None."""
        return self.queues.known(name)

    def purge(self) -> int:
        """Drop all waiting messages of the selected queues; return how many."""
        return sum(self.purge_queues(queue.name for queue in self.queues.selected).values())

    def purge_queues(self, names: Iterable[str]) -> dict[str, int]:
        """Drop all waiting messages of these queues; return how many of each."""
        wanted = list(names)
        return self.shared_connection().call(
            lambda broker: {name: broker.purge(name) for name in wanted}
        )

    def count_waiting(self, names: Iterable[str]) -> dict[str, int]:
        """Return how many messages wait in each of these queues; 0 for one that is not there."""
        wanted = list(names)
        return self.shared_connection().call(
            lambda broker: {name: broker.size(name) for name in wanted}
        )

    def existing_queues(self) -> list[str]:
        """Return the names of the queues that the broker has."""
        return self.shared_connection().call(lambda broker: [q.name for q in broker.queues()])

    # --- calls ----------------------------------------------------------------------------

    @functools.cached_property
    def calling(self) -> Calling:
        """What calls need: the producer, and the settings that change what a call is."""
        conf, connection = self.conf, self.shared_connection()
        travels = str(conf.result_backend).partition(":")[0] == "rpc"
        connection.prepare = cast("RpcBackend", self.backend).prepare if travels else None
        producer = Producer(
            connection,
            self.router,
            serializer=conf.task_serializer,
            compression=conf.task_compression,
            delivery_mode=conf.task_default_delivery_mode,
            timezone=self.timezone,
            retry=conf.task_publish_retry,
            retry_policy=conf.task_publish_retry_policy,
            publish_timeout=maybe_seconds(conf.broker_publish_timeout),
            repr_levels=conf.task_repr_maxlevels,
            owner=id(self),
            clock=self.clock,
            sent_events=conf.task_send_sent_event,
            event_exchange=conf.event_exchange,
            event_serializer=conf.event_serializer,
        )
        return Calling(producer, conf.task_always_eager, conf.task_inherit_parent_priority)

    @property
    def producer(self) -> Producer:
        """What sends this app's calls."""
        return self.calling.producer

    @property
    def oid(self) -> str:
        """Name of the queue that results for this app and process come to."""
        return reply_queue(id(self))

    thread_oid = oid

    @property
    def node_name(self) -> str:
        """Name of this process as a sender."""
        return node_name()

    # --- results --------------------------------------------------------------------------

    def result_place(self) -> ResultPlace:
        """Return what the settings say of where results are kept."""
        return ResultPlace(self.conf, self.broker_url())

    def backend_url(self) -> str | None:
        """Return where results are kept; None if they are not."""
        url = self.result_place().url
        return url if url is None or isinstance(url, str) else f"{url.__module__}:{url.__name__}"

    @functools.cached_property
    def backend(self) -> Backend:
        """The result backend, open; one that is away now is not missed before it is used."""
        place = self.result_place()
        with self._lock:
            if self._open_backend is not None:
                if self._open_backend[0] == place.key:
                    return self._open_backend[1]
                self._open_backend[1].close()
            self._open_backend = (place.key, place.open(self))
            return self._open_backend[1]

    @functools.cached_property
    def limiter(self) -> Limiter:
        """What counts the limits that all workers share; it connects when it is first asked.

        Raises ImproperlyConfigured if neither broker nor result backend can count.
        """
        return make_limiter(self)

    # --- workers --------------------------------------------------------------------------

    @functools.cached_property
    def control(self) -> Control:
        """Remote control of this app's workers."""
        conf, connection = self.conf, self.shared_connection()
        mailbox = ClientMailbox(
            connection,
            namespace=conf.control_exchange,
            serializer=conf.task_serializer,
            accept=conf.accept_content,
            forward_clock=self.clock.forward,
            adjust_clock=self.clock.adjust,
            queue=control_queue(conf),
        )
        mailbox.escort = RevokeEscort(self)
        return Control(connection, mailbox, self.purge)

    @functools.cached_property
    def events(self) -> Events:
        """Events of this app's workers and tasks: receivers, states and dispatchers."""
        return Events(
            self.shared_connection,
            clock=self.clock,
            exchange=self.conf.event_exchange,
            serializer=self.conf.event_serializer,
            hostname=self.node_name,
            wake=lambda: self.control.heartbeat(),
            queue=event_queue(self.conf),
        )

    def broker_info(self, url: str) -> dict[str, Any]:
        """Return what a node's `stats` says of the broker it uses."""
        others = [other for other in self.broker_urls() if other != url]
        return broker_info(url, self.conf, others)

    def bugreport(self, ask_broker: bool = False) -> str:
        """Return the text to put into a bug report; passwords are masked.

        With `ask_broker` it says whether the broker answers, and which version it is.
        """
        version, url, settings = self.version, self.broker_url(), self.conf.humanize()
        state = ""
        if ask_broker:
            broker = self.broker_state()
            state = f"version {broker['version']}" if broker["version"] else "reachable"
            state = f"NOT reachable: {broker['error']}" if broker["error"] else state
        return bug_report(version, url, self.backend_url(), settings, state)

    def broker_state(self) -> dict[str, Any]:
        """Return whether the broker answers: `reachable`, its `version`, or the `error`."""
        try:
            version = self.shared_connection().call(lambda broker: broker.server_version())
        except BrokerError as exc:
            return {"reachable": False, "version": None, "error": str(exc)}
        return {"reachable": True, "version": version or None, "error": None}


def _over_tls(url: str, wanted: Any) -> str:
    """Return the URL that speaks TLS, if TLS is wanted of a redis or RabbitMQ server."""
    scheme, separator, rest = url.partition("://")
    return f"{_TLS.get(scheme, scheme) if wanted else scheme}{separator}{rest}"


def _in_order(urls: list[str], strategy: Any) -> list[str]:
    """Return the URLs as `broker_failover_strategy` sorts them."""
    if strategy in (None, "round-robin") or len(urls) < 2:
        return urls
    if strategy == "shuffle":
        return random.sample(urls, len(urls))
    return list(dict.fromkeys(itertools.islice(strategy(urls), 2 * len(urls))))


def _names(given: str | Iterable[str] | None) -> list[str]:
    parts = given.split(",") if isinstance(given, str) else list(given or ())
    return [part.strip() for part in parts if part.strip()]
