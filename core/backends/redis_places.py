"""Where the Redis backend's server is and how it is spoken to: URL and options, read once."""

from __future__ import annotations

import difflib
import ssl
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import redis.connection
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from ..errors import ImproperlyConfigured
from ..loader import import_object
from ..redact import mask_url

#: redis-py's module, and one connection of it; their methods bear no types.
_driver: Any = redis.connection
_Sentinel: Any = Sentinel
Connection = Any

#: Seconds a command or a connect may take, unless the options say otherwise.
TIMEOUT, CONNECT_TIMEOUT = 10.0, 5.0
#: What stands for "for ever" where a deadline is needed, in seconds.
_LONG = 86400.0 * 365
#: Seconds of silence after which a listener asks whether the server is still there.
PING_AFTER = 10.0
SENTINEL_PORT = 26379

_TLS_OPTIONS = frozenset(
    "ssl_cert_reqs ssl_ca_certs ssl_ca_path ssl_ca_data ssl_certfile ssl_keyfile ssl_password"
    " ssl_check_hostname ssl_min_version ssl_ciphers".split()
)
#: Options that redis-py takes as they are.
_DRIVER_OPTIONS = frozenset(
    "username password socket_timeout socket_connect_timeout socket_keepalive"
    " socket_keepalive_options client_name health_check_interval".split()
)
#: Options that are read here, or where keys are named and chords are counted.
_OWN_OPTIONS = frozenset(
    "global_keyprefix result_chord_ordered master_name sentinel_kwargs min_other_sentinels"
    " max_connections retry_on_timeout credential_provider ssl".split()
)
#: Options of Celery's, and of brokers, that have nothing to steer here: a wait is tried again
#: until its deadline, and a worker keeps results until they are stored.  The last three are for
#: backends that encode for themselves.
_WITHOUT_EFFECT = frozenset(
    "retry_policy additional_connection_errors visibility_timeout fanout_prefix fanout_patterns"
    " priority_steps queue_order_strategy sep db host port"
    " result_serializer result_accept_content accept_content".split()
)


class Place(NamedTuple):
    """A server to talk to; `connect` makes one connection, which opens when it is used.

    Times are seconds.  `timeout` bounds one command, `ping_after` is how long a listener hears
    nothing before it asks.
    """

    connect: Callable[[], Connection]
    timeout: float
    ping_after: float
    max_connections: int | None
    retry_on_timeout: bool


def read_place(url: str, options: Mapping[str, Any]) -> Place:
    """Return the place of a redis://, rediss://, redis+socket:// or sentinel:// URL.

    Several sentinels are parted by `;`; user, password and database are those of the first.

    Raises ImproperlyConfigured for a URL that cannot be read, and for an option that is unknown
    or that no server could be asked with.
    """
    _check_names(options)
    chunks = [chunk.strip() for chunk in url.split(";") if chunk.strip()]
    settings = _settings(chunks[0], options)
    try:
        connect = _to_master(chunks, settings, options) if _is_sentinel(url) else _to(settings)
    except (ValueError, TypeError, RedisError) as exc:
        raise ImproperlyConfigured(f"result backend {mask_url(url)}: {exc}") from exc
    timeout = settings.get("socket_timeout")
    return Place(
        connect=connect,
        timeout=_LONG if timeout is None else timeout,
        ping_after=float(options.get("health_check_interval") or PING_AFTER),
        max_connections=options.get("max_connections"),
        retry_on_timeout=bool(options.get("retry_on_timeout")),
    )


def _check_names(options: Mapping[str, Any]) -> None:
    known = _TLS_OPTIONS | _DRIVER_OPTIONS | _OWN_OPTIONS
    for name in options:
        if name in known or name in _WITHOUT_EFFECT:
            continue
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(sorted(known))}"
        raise ImproperlyConfigured(
            f"result_backend_transport_options: {name!r} is no option of Redis: {hint}"
        )


def _is_sentinel(url: str) -> bool:
    return url.startswith("sentinel://")


# --- one server ---------------------------------------------------------------------------------


def _settings(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of one of redis-py's connections."""
    settings: dict[str, Any] = {
        "socket_timeout": TIMEOUT,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_keepalive": True,
        **{name: options[name] for name in options if name in _DRIVER_OPTIONS | _TLS_OPTIONS},
        **_from_url(url),
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
    }
    for name in ("socket_timeout", "socket_connect_timeout"):
        settings[name] = float(settings[name]) if settings[name] else None
    provider = settings.pop("credential_provider", None) or options.get("credential_provider")
    if provider is not None:
        settings["credential_provider"] = _provider(provider)
        settings.pop("username", None)
        settings.pop("password", None)
    if options.get("ssl") and issubclass(_class_of(settings), _driver.Connection):
        settings["connection_class"] = _driver.SSLConnection
    if _class_of(settings) is _driver.SSLConnection:
        settings.update(_clean_tls(settings))
    else:
        for name in _TLS_OPTIONS & settings.keys():
            del settings[name]
    return settings


def _class_of(settings: Mapping[str, Any]) -> Any:
    return settings.get("connection_class", _driver.Connection)


def _from_url(url: str) -> dict[str, Any]:
    scheme, _, rest = url.partition("://")
    driver_url = url
    if scheme == "redis+socket":
        driver_url = f"unix://{rest}".replace("virtual_host=", "db=")
    elif scheme == "sentinel":
        driver_url = f"redis://{rest}"
    try:
        found: dict[str, Any] = _driver.parse_url(driver_url)
    except ValueError:  # its text may quote half a password
        raise ImproperlyConfigured(
            f"cannot read the result backend's URL {mask_url(url)}: host:port/db is expected, and"
            " special characters of a password written as %40, %2F, %23"
        ) from None
    return found


def _provider(given: Any) -> Any:
    try:
        made = import_object(given) if isinstance(given, str) else given
        made = made() if isinstance(made, type) else made
    except Exception as exc:  # the class is the user's code
        raise ImproperlyConfigured(f"redis_backend_credential_provider {given!r}: {exc}") from exc
    if not callable(getattr(made, "get_credentials", None)):
        raise ImproperlyConfigured(
            f"redis_backend_credential_provider {given!r} is no redis.CredentialProvider:"
            " it has no get_credentials"
        )
    return made


def _clean_tls(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the server's certificate is looked at, in redis-py's words."""
    cleaned: dict[str, Any] = {}
    needed = settings.get("ssl_cert_reqs")
    if isinstance(needed, str):  # Celery writes CERT_NONE, redis-py none
        word = needed.upper().removeprefix("CERT_").lower()
        if word not in ("none", "optional", "required"):
            raise ImproperlyConfigured(
                f"redis_backend_use_ssl: ssl_cert_reqs must be none, optional or required,"
                f" got {needed!r}"
            )
        cleaned["ssl_cert_reqs"] = needed = word
    if needed in ("none", ssl.CERT_NONE) and "ssl_check_hostname" not in settings:
        cleaned["ssl_check_hostname"] = False
    return cleaned


def _to(settings: dict[str, Any]) -> Callable[[], Connection]:
    made = dict(settings)
    cls = made.pop("connection_class", _driver.Connection)
    if not issubclass(cls, _driver.Connection):  # a unix socket
        for name in ("socket_keepalive", "socket_keepalive_options", "socket_connect_timeout"):
            made.pop(name, None)
    cls(**made)  # a wrong argument is told now
    return lambda: cls(**made)


# --- sentinels ----------------------------------------------------------------------------------


def _to_master(
    chunks: list[str], settings: dict[str, Any], options: Mapping[str, Any]
) -> Callable[[], Connection]:
    """Return what connects to whatever server the sentinels call the master by then."""
    name = options.get("master_name")
    if not name:
        raise ImproperlyConfigured(
            "a sentinel:// result backend needs the name of the master: set master_name in"
            " result_backend_transport_options, as sentinel.conf has it after 'sentinel monitor'"
        )
    hosts = []
    for chunk in chunks:
        parts = _from_url(chunk)
        hosts.append((parts.get("host", "localhost"), parts.get("port", SENTINEL_PORT)))
    asked = {
        "socket_timeout": settings["socket_timeout"],
        "socket_connect_timeout": settings["socket_connect_timeout"],
        **(options.get("sentinel_kwargs") or {}),
        "retry": Retry(NoBackoff(), 0),
    }
    made = dict(settings)
    cls = made.pop("connection_class", _driver.Connection)
    fewest = int(options.get("min_other_sentinels") or 0)
    cls(**made)

    def connect() -> Connection:
        finder = _Sentinel(hosts, min_other_sentinels=fewest, sentinel_kwargs=asked)
        try:
            host, port = finder.discover_master(name)
        finally:
            for sentinel in finder.sentinels:
                sentinel.close()
        return cls(**{**made, "host": host, "port": port})

    return connect
