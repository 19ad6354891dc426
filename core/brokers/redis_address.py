"""Where a Redis broker is: its URL, and how TLS is spoken there, read once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import msgspec

from ..errors import ImproperlyConfigured

#: Ports where the URL names none.
REDIS_PORT, SENTINEL_PORT = 6379, 26379


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server is and who we are there; `shown` holds no password.

    With `sentinels` (host, port) the server is whatever they call the master; `host` is None
    until they were asked (`redis_sentinel`).
    """

    shown: str
    db: int = 0
    host: str | None = None
    port: int = REDIS_PORT
    path: str | None = None
    username: str | None = None
    password: str | None = None
    tls: bool = False
    tls_options: dict[str, Any] = {}
    sentinels: tuple[tuple[str, int], ...] = ()
    #: Path of a redis-py CredentialProvider class, which then stands for user and password.
    credential_provider: str | None = None


def read_url(url: str) -> Address:
    """Return the address in a redis://, rediss://, redis+socket:// or sentinel:// URL.

    Several sentinels are parted by `;`; user, password and database are those of the first one,
    as in Celery.  Raises ImproperlyConfigured; the message never shows the password.
    """
    scheme = url.partition("://")[0].lower()
    if scheme == "sentinel":
        return _sentinel(url)
    parts, port = _split(url, scheme, REDIS_PORT)
    query = dict(parse_qsl(parts.query))
    username, password = _login(parts, query)
    provider = query.pop("credential_provider", None)
    if scheme == "redis+socket":
        path = unquote((parts.hostname or "") + parts.path)
        db = _database(query.pop("virtual_host", "") or query.pop("db", "") or "0")
        _nothing_left(query, ())
        return Address(
            shown=f"redis+socket://{path} db {db}",
            db=db,
            path=path,
            username=username,
            password=password,
            credential_provider=provider,
        )
    db = _database(query.pop("db", "") or parts.path.strip("/") or "0")
    host = parts.hostname or "localhost"
    tls = scheme == "rediss"
    tls_options = _tls_options(query) if tls else {}
    _nothing_left(query, TLS_OPTIONS if tls else ())
    return Address(
        shown=f"{scheme}://{_user(username, password)}{_place(host, port)}/{db}",
        db=db,
        host=host,
        port=port,
        username=username,
        password=password,
        tls=tls,
        tls_options=tls_options,
        credential_provider=provider,
    )


def _sentinel(url: str) -> Address:
    """Read `sentinel://[user:password@]host:26379[/db];sentinel://host:26379...`."""
    places: list[tuple[str, int]] = []
    first: Address | None = None
    for one in (part.strip() for part in url.split(";")):
        if not one:
            continue
        whole = one if "://" in one else f"sentinel://{one}"
        if not whole.lower().startswith("sentinel://"):
            raise ImproperlyConfigured("a list of sentinels may hold sentinel:// URLs only")
        parts, port = _split(whole, "sentinel", SENTINEL_PORT)
        query = dict(parse_qsl(parts.query))
        username, password = _login(parts, query)
        named = query.pop("db", "") or parts.path.strip("/")
        db = _database(named or "0")
        tls_options = _tls_options(query)
        provider = query.pop("credential_provider", None)
        _nothing_left(query, TLS_OPTIONS)
        places.append((parts.hostname or "localhost", port))
        if first is None:
            first = Address(
                shown="",
                db=db,
                port=port,
                username=username,
                password=password,
                tls=bool(tls_options),
                tls_options=tls_options,
                credential_provider=provider,
            )
        elif named and db != first.db:
            raise ImproperlyConfigured(
                f"the list of sentinels names database {db} after {first.db}: write /{db} after"
                " the first sentinel, whose database Celery takes too"
            )
    if first is None:
        raise ImproperlyConfigured("the sentinel:// broker URL names no host")
    known = ";".join(_place(host, port) for host, port in places)
    shown = f"sentinel://{_user(first.username, first.password)}{known}/{first.db}"
    return msgspec.structs.replace(first, shown=shown, sentinels=tuple(places))


def _split(url: str, scheme: str, port: int) -> tuple[SplitResult, int]:
    try:
        parts = urlsplit(url)
        return parts, parts.port or port
    except ValueError:
        # What Python says quotes a part of the URL, which may be one of the password.
        raise ImproperlyConfigured(
            f"the {scheme}:// broker URL cannot be read: the port must be a number, and / # ? @ in"
            " a password be written as %2F %23 %3F %40"
        ) from None


def _login(parts: SplitResult, query: dict[str, str]) -> tuple[str | None, str | None]:
    username = unquote(parts.username) if parts.username else query.pop("username", "") or None
    password = unquote(parts.password) if parts.password else query.pop("password", "") or None
    return username, password


def _user(name: str | None, password: str | None) -> str:
    if name is None and password is None:
        return ""
    return f"{name or ''}{':********' if password is not None else ''}@"


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _database(text: str) -> int:
    if not text.strip("/").isdigit():
        raise ImproperlyConfigured(
            f"a Redis database is a number, got {text!r}: write redis://host:6379/0"
        )
    return int(text.strip("/"))


def _nothing_left(query: Mapping[str, str], known: Sequence[str]) -> None:
    for name in query:
        hint = f"choose from {', '.join(known)}" if known else "use broker_transport_options"
        raise ImproperlyConfigured(f"unknown option {name!r} in the broker URL: {hint}")


# --- TLS ----------------------------------------------------------------------------------------

TLS_OPTIONS = (
    "ssl_cert_reqs ssl_ca_certs ssl_ca_path ssl_ca_data ssl_certfile ssl_keyfile ssl_password "
    "ssl_check_hostname ssl_min_version"
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


def check_files(settings: Mapping[str, Any]) -> None:
    """Raise ImproperlyConfigured if TLS settings name a file that cannot be read."""
    for name in ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"):
        path = settings.get(name)
        if path and not os.access(path, os.R_OK):
            state = "may not be read" if os.path.exists(path) else "is not there"
            raise ImproperlyConfigured(f"{name}: the file {os.fspath(path)} {state}")
