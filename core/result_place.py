"""Where the results of an app are kept: from its settings to the backend, in one place."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Any, cast

from .backends import Backend, open_backend, settings_of
from .backends.disabled import DisabledBackend
from .backends.layers import with_cache, with_patience
from .backends.rpc import Post
from .clock import maybe_seconds
from .errors import BackendError
from .messaging.connection import Connection
from .settings_urls import split_url
from .tasks.arrivals import get_many
from .ways import celerys
from .wire.codecs import codec_named, compression_named

log = logging.getLogger("taskctl.app")

#: Settings of the redis result backend, and the driver's names for them.
_REDIS_OPTIONS = {
    "redis_username": "username",
    "redis_password": "password",
    "redis_socket_timeout": "socket_timeout",
    "redis_socket_connect_timeout": "socket_connect_timeout",
    "redis_socket_keepalive": "socket_keepalive",
    "redis_retry_on_timeout": "retry_on_timeout",
    "redis_max_connections": "max_connections",
    "redis_client_name": "client_name",
    "redis_backend_health_check_interval": "health_check_interval",
    "redis_backend_credential_provider": "credential_provider",
}
#: Seconds a worker waits at least before it stores results again, or it would do nothing else.
_BRIEFEST = 0.05
_REDIS_SCHEMES = ("redis", "sentinel")


class ResultPlace:
    """What the settings of one app say of its results.

    `broker` is the app's broker URL, `queue` the name of this process's reply queue, `connection`
    makes a connection to the broker: results that travel (rpc) go there.
    """

    def __init__(self, conf: Any, broker: str) -> None:
        self.conf = conf
        self.broker = broker
        self.url = self._url()
        self.options = self._options()
        self.expires = maybe_seconds(conf.result_expires)
        self.failure_expires = maybe_seconds(conf.result_failure_expires)
        self.chord_expires = maybe_seconds(conf.result_chord_expires)

    def _url(self) -> Any:
        """Return the URL (or class) of the backend; None if results are not kept.

        Without a setting, an embedded broker keeps them; a redis one does not, as in Celery.
        """
        conf, broker = self.conf, self.broker
        given = conf.result_backend
        if not given:
            embedded = broker.startswith(("sqlite://", "memory://")) and not celerys()
            return broker if embedded else None
        if given == "redis":
            given = split_url(
                "redis", conf.redis_host or "localhost", conf.redis_port, None, None, conf.redis_db
            )
        if given in ("db", "database") and conf.database_url:
            given = f"db+{conf.database_url.removeprefix('db+')}"
        if given == "cache" and conf.cache_backend:
            given = f"cache+{conf.cache_backend.removeprefix('cache+')}"
        plain = isinstance(given, str) and given.startswith("redis://")
        return f"rediss://{given[8:]}" if plain and conf.redis_backend_use_ssl else given

    def _options(self) -> dict[str, Any]:
        conf, url = self.conf, self.url if isinstance(self.url, str) else ""
        options = dict(conf.result_backend_transport_options or {})
        if url.startswith(_REDIS_SCHEMES):
            for setting, name in _REDIS_OPTIONS.items():
                if conf.value_set_for(setting) or setting == "redis_socket_timeout":
                    options.setdefault(name, conf[setting])
            if isinstance(conf.redis_backend_use_ssl, Mapping):
                options = {**conf.redis_backend_use_ssl, **options}
            if conf.redis_backend_use_ssl:
                options["ssl"] = True
        for setting in settings_of(url):
            options.setdefault(setting, conf[setting])
        return options

    @property
    def key(self) -> Any:
        """What two places have in common whose backend may be one and the same."""
        conf = self.conf
        travels = self.url == "rpc" or str(self.url).startswith("rpc://")
        return (
            self.url, self.options, self.expires, self.failure_expires, self.chord_expires,
            conf.result_cache_max, self._retries(), conf.override_backends,
            (self.broker, conf.result_persistent, conf.result_serializer) if travels else None,
        )  # fmt: skip

    def _retries(self) -> tuple[float, float, float] | None:
        """Return (tries, first pause, longest pause), if failed operations are tried again."""
        conf = self.conf
        if not conf.result_backend_always_retry:
            return None
        return (
            conf.result_backend_max_retries,
            conf.result_backend_base_sleep_between_retries_ms / 1000,
            conf.result_backend_max_sleep_between_retries_ms / 1000,
        )

    def open(self, app: Any) -> Backend:
        """Return the backend, open; one that is away now is not missed before it is used.

        Raises ImproperlyConfigured for settings that no backend can work with.
        """
        made = open_backend(
            self.url,
            options=self.options,
            expires=self.expires,
            failure_expires=self.failure_expires,
            chord_expires=self.chord_expires,
            post=self._post(app),
            classes=_classes(self.conf.override_backends),
        )
        made.get_many = functools.partial(get_many, app, made)
        self._say_what_is_not_done(made)
        try:
            made.open()
        except BackendError as exc:
            log.warning("%s; results are kept and found again once it is back", exc)
        if isinstance(made, DisabledBackend):
            return made
        retries = self._retries()
        if retries is not None:
            made = with_patience(made, *retries)
        most = self.conf.result_cache_max
        return made if most == -1 else with_cache(made, most or None)

    def _post(self, app: Any) -> Post:
        codec = codec_named(self.conf.result_serializer)
        return Post(
            connect=lambda: cast(Connection, app.connection()),
            queue=lambda: cast(str, app.thread_oid),
            content_type=codec.content_type,
            content_encoding=codec.content_encoding,
            persistent=bool(self.conf.result_persistent),
        )

    def _say_what_is_not_done(self, backend: Backend) -> None:
        compression = self.conf.result_compression
        if compression:
            compression_named(compression)  # a wrong name is told now, not by the first task
            if backend.persistent and not backend.compresses:
                log.warning(
                    "result_compression is %r, but this result backend keeps no compressed"
                    " results: they are stored as they are",
                    compression,
                )


def worker_pauses(conf: Any) -> tuple[float, float]:
    """Return after how many seconds a worker tries again to store results, at first and at most.

    It never gives up: until then their messages are not acknowledged.
    """
    if not conf.result_backend_always_retry:
        return 0.5, 4.0
    first = conf.result_backend_base_sleep_between_retries_ms / 1000
    longest = conf.result_backend_max_sleep_between_retries_ms / 1000
    return max(first, _BRIEFEST), max(longest, first, _BRIEFEST)


def _classes(overrides: Any) -> Mapping[str, Any]:
    return overrides if isinstance(overrides, Mapping) else {}
