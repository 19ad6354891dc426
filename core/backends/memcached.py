"""Results in memcached, under Celery's keys.

The client library is pymemcache, which Celery 5.7 uses too: with several servers, both find a key
on the same one.  A server that is away is an error here, and never a missing result.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import methodcaller
from typing import Any, TypeVar

from pymemcache.client.base import PooledClient, normalize_server_spec  # type: ignore[import-untyped,unused-ignore]
from pymemcache.client.rendezvous import RendezvousHash  # type: ignore[import-untyped,unused-ignore]
from pymemcache.exceptions import (  # type: ignore[import-untyped,unused-ignore]
    MemcacheClientError,
    MemcacheError,
    MemcacheServerError,
    MemcacheUnexpectedCloseError,
)

from ..errors import BackendError, ImproperlyConfigured
from ..wire.outcome import StoredMeta
from ..wire.result_meta import says_success
from . import rows
from .keys import GROUP_PREFIX, Keys
from .memcached_chords import CHORD_PREFIX, CountsInMemcached
from .polling import PollingBackend, logger

T = TypeVar("T")

#: What a key may be.  Source: memcached doc/protocol.txt, "Keys".
_KEY = re.compile(r"[\x21-\x7e]{1,250}")
#: Lifetimes above this many seconds are read as points in time.  Source: doc/protocol.txt,
#: "Expiration times".
_LONGEST_RELATIVE = 30 * 24 * 3600
#: Keys per question.
_KEYS_PER_QUERY = 500
#: Options of the client that are handed on.
_CLIENT_OPTIONS = frozenset(
    "connect_timeout timeout no_delay socket_keepalive key_prefix serde encoding tls_context"
    " max_pool_size pool_idle_timeout".split()
)
#: Options of `cache_backend_options` that Celery takes and that have no meaning here: how often
#: to try is decided by whoever stores or waits, and no server is ever taken for dead.
_IDLE_OPTIONS = frozenset(
    "behaviors binary retry_attempts retry_delay retry_for do_not_retry_for retry_timeout"
    " dead_timeout use_pooling hasher ignore_exc default_noreply allow_unicode_keys".split()
)
#: Seconds to connect, and to wait for an answer.  Source: Celery 5.7 backends/cache.py.
_TIMEOUTS = {"connect_timeout": 5.0, "timeout": 5.0}


class MemcachedBackend(CountsInMemcached, PollingBackend):
    """Results in memcached; `cache+memcached://host:11211;host2:11211/` or `memcached://...`.

    Connections are made as threads need them; after a fork, new ones are made.  memcached keeps
    what it has room for: a result may be gone before its time.
    """

    compresses = True
    naps = (0.002, 0.05)

    def __init__(self, url: str, **settings: Any) -> None:
        super().__init__(url, **settings)
        self._serializer = str(self.options.get("result_serializer") or "json")
        self._client_options = self._checked(self.options.get("cache_backend_options") or {})
        self._keys = Keys(self.options, self._fits)
        self._chord_prefix = self._keys.group_prefix.replace(GROUP_PREFIX, CHORD_PREFIX)
        self._servers = self._parse(url)
        self._ring = RendezvousHash(list(self._servers))
        self._lock = threading.Lock()
        self._clients: dict[str, PooledClient] = {}

    def _parse(self, url: str) -> dict[str, Any]:
        """Return the servers by their names, which are what keys are spread over."""
        names = [name for name in re.split("[;,]", url.partition("://")[2].rstrip("/")) if name]
        if not names:
            raise ImproperlyConfigured(
                f"{self.where} names no server: cache+memcached://host:11211/, several with ';'"
            )
        servers = {}
        for name in names:
            try:
                spec = normalize_server_spec(name)
            except ValueError as exc:
                raise ImproperlyConfigured(f"{self.where}: {name!r} is no host:port") from exc
            servers["{}:{}".format(*spec) if isinstance(spec, tuple) else spec] = spec
        return servers

    def _checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        unknown = sorted(given.keys() - _CLIENT_OPTIONS - _IDLE_OPTIONS)
        if unknown:
            raise ImproperlyConfigured(
                f"cache_backend_options: unknown {unknown[0]!r}: choose"
                f" {', '.join(sorted(_CLIENT_OPTIONS))}"
            )
        idle = sorted(given.keys() & _IDLE_OPTIONS)
        if idle:
            logger.warning("cache_backend_options: %s: not used", ", ".join(idle))
        return {**_TIMEOUTS, **{k: v for k, v in given.items() if k in _CLIENT_OPTIONS}}

    def _fits(self, key: str) -> bool:
        prefix = self._client_options.get("key_prefix") or ""
        prefix = prefix.decode("ascii", "replace") if isinstance(prefix, bytes) else prefix
        return _KEY.fullmatch(prefix + key) is not None

    def open(self) -> None:
        for server in self._servers:
            self._ask(server, lambda client: client.version())

    def close(self) -> None:
        with self._lock:
            clients, self._clients = self._clients, {}
        if not self.forked():
            for client in clients.values():
                client.close()

    # --- metas ------------------------------------------------------------------------------

    def store(self, batch: Sequence[StoredMeta]) -> None:
        for item in batch:
            try:
                self._store(item)
            except _TooLarge as exc:
                logger.error("%s: result of task %s: %s", self.where, item.task_id, exc)
                self._store(rows.unfit(item, str(exc), self._serializer))

    def _store(self, item: StoredMeta) -> None:
        key, ttl = self._keys.of_task(item.task_id), _ttl(self.lifetime(item.state))

        def write(client: PooledClient) -> bool:
            """Write in one step of the server; return False if somebody else did meanwhile."""
            if client.add(key, item.meta, expire=ttl, noreply=False):
                return True
            old, token = client.gets(key)
            if old is None:
                return False
            if says_success(bytes(old)):
                return True
            return bool(client.cas(key, item.meta, token, expire=ttl, noreply=False))

        while not self._ask_for(key, write, size=len(item.meta)):
            pass

    def load(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        ids = {self._keys.of_task(task_id): task_id for task_id in task_ids}
        metas: dict[str, bytes] = {}
        for server, keys in self._by_server(ids).items():
            for start in range(0, len(keys), _KEYS_PER_QUERY):
                some = keys[start : start + _KEYS_PER_QUERY]
                found = self._ask(server, methodcaller("get_many", some))
                metas.update((ids[key], bytes(value)) for key, value in found.items())
        return metas

    def forget(self, task_ids: Sequence[str]) -> None:
        for task_id in task_ids:
            self._delete(self._keys.of_task(task_id))

    # --- chords: see CountsInMemcached --------------------------------------------------------

    def _chord_key(self, group_id: str) -> str:
        begins = self._keys.group_prefix
        return self._keys.of_group(group_id).replace(begins, self._chord_prefix, 1)

    def _chord_ttl(self) -> int:
        return _ttl(self.chord_expires or None)

    def _lifetime_ttl(self, lifetime: float | None) -> int:
        return _ttl(lifetime)

    # --- groups -----------------------------------------------------------------------------

    def store_group(self, group_id: str, value: bytes) -> None:
        key, ttl = self._keys.of_group(group_id), _ttl(self.lifetime("SUCCESS"))
        self._ask_for(key, lambda client: client.set(key, value, expire=ttl, noreply=False))
        self.make_counter(group_id)

    def load_group(self, group_id: str) -> bytes | None:
        key = self._keys.of_group(group_id)
        value: bytes | None = self._ask_for(key, lambda client: client.get(key))
        return value

    def forget_group(self, group_id: str) -> None:
        self._delete(self._keys.of_group(group_id))

    def expire(self) -> int:
        return 0

    # --- servers ----------------------------------------------------------------------------

    def _delete(self, key: str) -> None:
        self._ask_for(key, lambda client: client.delete(key, noreply=False))

    def _by_server(self, keys: Iterable[str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for key in keys:
            found.setdefault(self._ring.get_node(key), []).append(key)
        return found

    def _client(self, server: str) -> PooledClient:
        with self._lock:
            if self.forked():
                self._clients = {}
            client = self._clients.get(server)
            if client is None:
                client = PooledClient(self._servers[server], **self._client_options)
                self._clients[server] = client
            return client

    def _ask_for(self, key: str, work: Callable[[PooledClient], T], size: int = 0) -> T:
        return self._ask(self._ring.get_node(key), work, size)

    def _ask(self, server: str, work: Callable[[PooledClient], T], size: int = 0) -> T:
        """Do some work with a server; `size` is that of the largest value in it, in bytes.

        Connections the server has closed while they lay idle are replaced, once.
        """
        client = self._client(server)
        try:
            try:
                return work(client)
            except (MemcacheUnexpectedCloseError, ConnectionError):
                client.close()
                return work(client)
        except MemcacheUnexpectedCloseError as exc:
            raise self._error(server, "connection closed", away=True) from exc
        except OSError as exc:
            text = "no answer in time" if isinstance(exc, TimeoutError) else exc.strerror or exc
            raise self._error(server, text, away=True) from exc
        except MemcacheServerError as exc:
            text = _words(exc)
            if "too large" in text:
                raise _TooLarge(
                    f"{size} bytes are more than memcached server {server} takes for one value"
                    " (1 MiB unless it was started with -I)"
                ) from exc
            raise self._error(server, text) from exc
        except (MemcacheClientError, MemcacheError) as exc:
            raise self._error(server, _words(exc)) from exc

    def _error(self, server: str, text: object, *, away: bool = False) -> BackendError:
        return self.error(f"server {server}: {text}", away=away)


class _TooLarge(BackendError):
    """A value is larger than the server takes."""


def _words(exc: Exception) -> str:
    text = exc.args[0] if exc.args else ""
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) or repr(exc)


def _ttl(lifetime: float | None) -> int:
    """Return a lifetime as memcached takes it: whole seconds, or a point in time, or 0."""
    if lifetime is None:
        return 0
    seconds = max(1, math.ceil(lifetime))
    return seconds if seconds <= _LONGEST_RELATIVE else int(time.time()) + seconds
