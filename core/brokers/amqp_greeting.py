"""How a connection to RabbitMQ begins: socket, TLS, who we are; and why it could not, in a line."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import sys
import time
from typing import Any

from ..errors import BrokerConnectionError, BrokerError
from ..version import __version__
from .amqp_codec import encode_table
from .amqp_options import Address, Options, tls_context

_CAPABILITIES = {
    "publisher_confirms": True,
    "consumer_cancel_notify": True,
    "basic.nack": True,
    "exchange_exchange_bindings": True,
    "connection.blocked": True,
    "authentication_failure_close": True,
}
#: Seconds: a silent connection is probed after the first, every second one, so many times.
_KEEPALIVE = (60, 10, 9)


def connected(address: Address, options: Options, deadline: float) -> socket.socket:
    """Return a socket to the server, which never waits from now on.

    Raises BrokerConnectionError if there is none by the deadline.
    """
    plain: socket.socket | None = None
    try:
        left = max(0.01, deadline - time.monotonic())
        plain = socket.create_connection((address.host, address.port), timeout=left)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if sys.platform == "linux":
            for name, value in zip(
                (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT),
                _KEEPALIVE,
                strict=True,
            ):
                plain.setsockopt(socket.IPPROTO_TCP, name, value)
        found = _wrapped(plain, address, options) if address.tls else plain
        found.setblocking(False)
        return found
    except OSError as exc:
        if plain is not None:
            plain.close()
        raise lost(address, exc) from exc


def _wrapped(plain: socket.socket, address: Address, options: Options) -> ssl.SSLSocket:
    settings = {**(options.ssl or {}), **address.tls_options}
    named = settings.get("server_hostname") or settings.get("ssl_server_hostname")
    return tls_context(settings).wrap_socket(plain, server_hostname=named or address.host)


def about_us(options: Options, role: str) -> dict[str, Any]:
    """Return what the server shows of a client."""
    return {
        "product": "taskctl",
        "version": __version__,
        "platform": f"Python {sys.version.split()[0]}",
        "capabilities": _CAPABILITIES,
        "connection_name": options.client_name or f"taskctl {role} {os.getpid()}",
        **options.client_properties,
    }


def credentials(address: Address, options: Options, offered: Any) -> tuple[str, Any]:
    """Return (login method, answer).

    Raises BrokerError if the server does not offer the method.
    """
    words = (offered.decode() if isinstance(offered, bytes) else str(offered)).split()
    method = (address.login_method or options.login_method or "PLAIN").upper()
    if method not in words:
        raise BrokerError(
            f"{address.shown} offers no login method {method}: it has {', '.join(words)}"
        )
    if method == "EXTERNAL":
        return method, ""
    if method == "AMQPLAIN":
        table = encode_table({"LOGIN": address.username, "PASSWORD": address.password})
        return method, table[4:]
    return method, f"\0{address.username}\0{address.password}"


def lost(address: Address, exc: OSError | None) -> BrokerConnectionError:
    """Return the error of a connection that broke, or was closed (None)."""
    where = address.shown
    if exc is None:
        return BrokerConnectionError(f"broker {where} closed the connection")
    if isinstance(exc, ssl.SSLCertVerificationError):
        return BrokerConnectionError(
            f"broker {where}: its certificate is not trusted: {exc.verify_message}; "
            "name the CA with broker_use_ssl ca_certs (or ssl_ca_certs in the URL)"
        )
    if isinstance(exc, ssl.SSLError):
        said = (exc.reason or str(exc)).replace("_", " ").lower()
        return BrokerConnectionError(f"broker {where}: no TLS connection: {said}")
    if isinstance(exc, TimeoutError) or exc.errno == errno.ETIMEDOUT:
        return BrokerConnectionError(f"broker {where} did not answer in time")
    said = (exc.strerror or str(exc)).strip()
    return BrokerConnectionError(f"broker {where}: {said[:1].lower()}{said[1:]}")
