"""Where a Redis broker is, and how it was asked to behave: URL and options, read once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from ..errors import ImproperlyConfigured

#: Celery's options that have nothing to steer here, accepted so that a configuration can move
#: over unchanged: taskctl keeps one connection of each kind (max_connections), serves queues in
#: turn (queue_order_strategy), retries in `messaging` (retry_*, interval_*, max_retries), is woken
#: by the server (polling_interval), and restores in one go (unacked_restore_limit).
WITHOUT_EFFECT = frozenset(
    "max_connections queue_order_strategy retry_on_timeout retry_policy max_retries interval_start "
    "interval_step interval_max polling_interval unacked_restore_limit".split()
)


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`broker_transport_options` of a Redis broker; names and defaults are kombu's.

    All processes at one broker must agree on those that name keys.
    """

    global_keyprefix: str = ""
    sep: str = "\x06\x16"
    priority_steps: tuple[int, ...] = (0, 3, 6, 9)
    fanout_prefix: bool | str = True
    fanout_patterns: bool = True
    unacked_key: str = "unacked"
    unacked_index_key: str = "unacked_index"
    unacked_mutex_key: str = "unacked_mutex"
    #: After how long a loan of a *Celery* worker goes back (seconds).
    visibility_timeout: float = 3600.0
    #: How long one command may take (seconds).
    socket_timeout: float | None = 5.0
    socket_connect_timeout: float | None = None
    socket_keepalive: bool | None = None
    socket_keepalive_options: dict[int, int] | None = None
    #: How long the listening connection may be silent before it is probed (seconds; 0 never).
    health_check_interval: float = 25.0
    client_name: str | None = None
    #: TLS settings for rediss://, as `broker_use_ssl` gives them.
    ssl: dict[str, Any] | None = None

    def channel_prefix(self, db: int) -> str:
        """Return what the names of pub/sub channels begin with."""
        if isinstance(self.fanout_prefix, str):
            return self.fanout_prefix.replace("{db}", str(db))
        return f"/{db}." if self.fanout_prefix else ""


def read_options(given: Mapping[str, Any]) -> Options:
    """Return the options, checked.

    Raises ImproperlyConfigured naming the option, and the nearest right name.
    """
    known = Options.__struct_fields__
    chosen = {name: value for name, value in given.items() if name not in WITHOUT_EFFECT}
    for name, value in chosen.items():
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}"
            raise ImproperlyConfigured(
                f"broker_transport_options: {name!r} is no option of a Redis broker: {hint}"
            )
        try:
            msgspec.convert({name: value}, Options)
        except msgspec.ValidationError as exc:
            reason = str(exc).partition(" - at")[0].lower()
            raise ImproperlyConfigured(f"broker_transport_options: {name}: {reason}") from exc
    options = msgspec.convert(chosen, Options)
    if 0 not in options.priority_steps or not options.sep:
        raise ImproperlyConfigured(
            "broker_transport_options: priority_steps must hold 0, and sep must not be empty"
        )
    return options


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server is and who we are there; `shown` holds no password."""

    shown: str
    db: int = 0
    host: str | None = None
    port: int = 6379
    path: str | None = None
    username: str | None = None
    password: str | None = None
    tls: bool = False
    tls_options: dict[str, Any] = {}


def _user(name: str | None, password: str | None) -> str:
    if name is None and password is None:
        return ""
    return f"{name or ''}{':********' if password is not None else ''}@"


def read_url(url: str) -> Address:
    """Return the address in a redis://, rediss:// or redis+socket:// URL.

    Raises ImproperlyConfigured; the message never shows the password.
    """
    scheme = url.partition("://")[0].lower()
    if scheme == "sentinel":
        raise ImproperlyConfigured(
            "sentinel:// is not supported by this version yet: name the master as redis://host:port"
        )
    try:
        parts = urlsplit(url)
        port = parts.port or 6379
    except ValueError:
        # What Python says quotes a part of the URL, which may be one of the password.
        raise ImproperlyConfigured(
            f"the {scheme}:// broker URL cannot be read: the port must be a number, and / # ? @ in"
            " a password be written as %2F %23 %3F %40"
        ) from None
    query = dict(parse_qsl(parts.query))
    username = unquote(parts.username) if parts.username else query.pop("username", "") or None
    password = unquote(parts.password) if parts.password else query.pop("password", "") or None
    if scheme == "redis+socket":
        path = unquote((parts.hostname or "") + parts.path)
        db = _database(query.pop("virtual_host", "") or query.pop("db", "") or "0")
        _nothing_left(query, ())
        shown = f"redis+socket://{path} db {db}"
        return Address(shown=shown, db=db, path=path, username=username, password=password)
    db = _database(query.pop("db", "") or parts.path.strip("/") or "0")
    host = parts.hostname or "localhost"
    shown_host = f"[{host}]" if ":" in host else host
    tls = scheme == "rediss"
    tls_options = _tls_options(query) if tls else {}
    _nothing_left(query, TLS_OPTIONS if tls else ())
    return Address(
        shown=f"{scheme}://{_user(username, password)}{shown_host}:{port}/{db}",
        db=db,
        host=host,
        port=port,
        username=username,
        password=password,
        tls=tls,
        tls_options=tls_options,
    )


def _database(text: str) -> int:
    if not text.strip("/").isdigit():
        raise ImproperlyConfigured(
            f"a Redis database is a number, got {text!r}: write redis://host:6379/0"
        )
    return int(text.strip("/"))


TLS_OPTIONS = (
    "ssl_cert_reqs ssl_ca_certs ssl_ca_path ssl_certfile ssl_keyfile ssl_password "
    "ssl_check_hostname"
).split()


def _tls_options(query: dict[str, str]) -> dict[str, Any]:
    """Take the ssl_* settings out of a query."""
    return {name: query.pop(name) for name in TLS_OPTIONS if name in query}


def clean_tls(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return TLS settings as redis-py wants them.

    `ssl_cert_reqs` may be Celery's CERT_NONE, redis-py's none, or a constant of module ssl.
    """
    cleaned = dict(settings)
    unknown = sorted(set(cleaned) - set(TLS_OPTIONS))
    if unknown:
        raise ImproperlyConfigured(
            f"unknown TLS option {unknown[0]!r}: choose from {', '.join(TLS_OPTIONS)}"
        )
    needed = cleaned.get("ssl_cert_reqs")
    if isinstance(needed, str):
        word = needed.upper().removeprefix("CERT_").lower()
        if word not in ("none", "optional", "required"):
            raise ImproperlyConfigured(
                f"ssl_cert_reqs must be none, optional or required, got {needed!r}"
            )
        cleaned["ssl_cert_reqs"] = word
    check = cleaned.get("ssl_check_hostname")
    if isinstance(check, str):
        cleaned["ssl_check_hostname"] = check.lower() not in ("0", "false", "no", "")
    if str(cleaned.get("ssl_cert_reqs")) in ("none", "VerifyMode.CERT_NONE", "0"):
        cleaned.setdefault("ssl_check_hostname", False)
    return cleaned


def _nothing_left(query: Mapping[str, str], known: Any) -> None:
    for name in query:
        hint = f"choose from {', '.join(known)}" if known else "use broker_transport_options"
        raise ImproperlyConfigured(f"unknown option {name!r} in the broker URL: {hint}")
