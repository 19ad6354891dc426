"""Where a RabbitMQ broker is, and how it was asked to behave: URL and options, read once."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from ..errors import ImproperlyConfigured
from .transport_options import convert_options

#: Celery's options that have nothing to steer here, accepted so that a configuration can move
#: over unchanged: publishes are always confirmed (confirm_publish), retries are up to `messaging`
#: (max_retries, interval_*), and one deadline bounds every word with the broker.
WITHOUT_EFFECT = frozenset(
    "confirm_publish max_retries interval_start interval_step interval_max read_timeout "
    "write_timeout errback callback".split()
)
LOGIN_METHODS = ("PLAIN", "AMQPLAIN", "EXTERNAL")


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`broker_transport_options` of a RabbitMQ broker."""

    #: Seconds between heartbeats of a node, 0 for none; the server may ask for fewer.  A client
    #: that only sends has none: nobody would beat for it while it is idle.
    heartbeat: float | None = 120.0
    login_method: str | None = None
    #: Seconds that one answer of the broker may take: to a declaration, or to a publish.
    socket_timeout: float = 5.0
    connect_timeout: float | None = None
    #: Shown by the server beside the connection.
    client_name: str | None = None
    client_properties: dict[str, Any] = {}
    #: Kind of the queues of native delayed delivery: quorum or classic.
    native_delayed_delivery_queue_type: str = "quorum"
    #: TLS settings for amqps://, as `broker_use_ssl` gives them.
    ssl: dict[str, Any] | None = None


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server is and who we are there; `shown` holds no password."""

    shown: str
    host: str
    port: int
    vhost: str
    username: str
    password: str
    tls: bool = False
    tls_options: dict[str, Any] = {}
    heartbeat: float | None = None
    login_method: str | None = None


def read_options(given: Mapping[str, Any]) -> Options:
    """Return the options, checked.

    Raises ImproperlyConfigured naming the option, and the nearest right name.
    """
    options = convert_options(given, Options, "RabbitMQ", WITHOUT_EFFECT)
    if options.native_delayed_delivery_queue_type not in ("quorum", "classic"):
        raise ImproperlyConfigured(
            "broker_transport_options: native_delayed_delivery_queue_type must be quorum or "
            f"classic, got {options.native_delayed_delivery_queue_type!r}"
        )
    _login_method(options.login_method)
    if options.ssl is not None:
        tls_context(options.ssl)
    return options


def _login_method(name: str | None) -> str | None:
    if name is not None and name.upper() not in LOGIN_METHODS:
        raise ImproperlyConfigured(
            f"unknown login method {name!r} for RabbitMQ: choose from {', '.join(LOGIN_METHODS)}"
        )
    return None if name is None else name.upper()


def read_url(url: str) -> Address:
    """Return the address in an amqp://, amqps:// or pyamqp:// URL.

    The virtual host is the path without its first slash: none, and `//`, is `/`.
    Raises ImproperlyConfigured; the message never shows the password.
    """
    scheme = url.partition("://")[0].lower()
    try:
        parts = urlsplit(url)
        tls = scheme == "amqps"
        port = parts.port or (5671 if tls else 5672)
    except ValueError:
        # What Python says quotes a part of the URL, which may be one of the password.
        raise ImproperlyConfigured(
            f"the {scheme}:// broker URL cannot be read: the port must be a number, and / # ? @ in"
            " a password be written as %2F %23 %3F %40"
        ) from None
    host, vhost = parts.hostname or "localhost", unquote(parts.path[1:]) or "/"
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    heartbeat = _seconds(query.pop("heartbeat", None))
    login_method = _login_method(query.pop("login_method", None))
    tls_options = {name: query.pop(name) for name in list(query) if _tls_name(name)}
    if tls_options and not tls:
        raise ImproperlyConfigured(
            f"{min(tls_options)!r} in the broker URL is for TLS: write amqps:// instead of amqp://"
        )
    for name in query:
        raise ImproperlyConfigured(
            f"unknown option {name!r} in the broker URL: choose from heartbeat, login_method, "
            f"{', '.join('ssl_' + one for one in TLS_NAMES)}; use broker_transport_options for more"
        )
    tls_context(tls_options)
    username = unquote(parts.username) if parts.username else "guest"
    password = unquote(parts.password) if parts.password is not None else "guest"
    shown_host = f"[{host}]" if ":" in host else host
    return Address(
        shown=f"{scheme}://{username}:********@{shown_host}:{port}/{vhost}",
        host=host,
        port=port,
        vhost=vhost,
        username=username,
        password=password,
        tls=tls,
        tls_options=tls_options,
        heartbeat=heartbeat,
        login_method=login_method,
    )


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 65535:
        raise ImproperlyConfigured(
            f"heartbeat in the broker URL must be seconds from 0 to 65535, got {text!r}"
        )
    return seconds


#: TLS settings, with or without `ssl_` before them: `broker_use_ssl` of Celery leaves it out.
TLS_NAMES = (
    "ca_certs ca_path certfile keyfile password cert_reqs check_hostname server_hostname ciphers"
).split()


def _tls_name(name: str) -> str | None:
    bare = name.removeprefix("ssl_")
    if bare in ("cacerts", "cafile"):
        return "ca_certs"
    return bare if bare in TLS_NAMES else None


def clean_tls(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return TLS settings under their bare names.

    Raises ImproperlyConfigured for one that is unknown.
    """
    cleaned: dict[str, Any] = {}
    for name, value in settings.items():
        bare = _tls_name(name)
        if bare is None:
            raise ImproperlyConfigured(
                f"unknown TLS option {name!r} for RabbitMQ: choose from {', '.join(TLS_NAMES)}"
            )
        cleaned[bare] = value
    return cleaned


def tls_context(settings: Mapping[str, Any]) -> ssl.SSLContext:
    """Return the TLS context that settings ask for.

    Certificates are verified unless `cert_reqs` says none: Celery by itself verifies nothing.
    Raises ImproperlyConfigured for what cannot be read.
    """
    given = clean_tls(settings)
    required = given.get("cert_reqs", ssl.CERT_REQUIRED)
    if isinstance(required, str):
        word = "CERT_" + required.upper().removeprefix("CERT_")
        if word not in ssl.VerifyMode.__members__:
            raise ImproperlyConfigured(
                f"cert_reqs must be none, optional or required, got {required!r}"
            )
        required = ssl.VerifyMode[word]
    try:
        context = ssl.create_default_context(
            cafile=given.get("ca_certs"), capath=given.get("ca_path")
        )
        if given.get("certfile"):
            context.load_cert_chain(
                given["certfile"], given.get("keyfile"), password=given.get("password")
            )
        if given.get("ciphers"):
            context.set_ciphers(given["ciphers"])
    except (OSError, ValueError) as exc:
        raise ImproperlyConfigured(f"TLS settings of the broker: {exc}") from exc
    check = given.get("check_hostname", required != ssl.CERT_NONE)
    if isinstance(check, str):
        check = check.lower() not in ("0", "false", "no", "")
    context.check_hostname = bool(check) and required != ssl.CERT_NONE
    context.verify_mode = ssl.VerifyMode(required)
    return context
