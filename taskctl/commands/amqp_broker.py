"""A RabbitMQ broker by its URL, for `taskctl amqp`: connect, and do one word of AMQP at a time.

Nothing above this file sees pika; its errors become the command line's.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import pika  # type: ignore[import-untyped, unused-ignore]
from pika import exceptions
from pika.adapters.blocking_connection import (  # type: ignore[import-untyped, unused-ignore]
    BlockingChannel,
)

from taskctl.core.redact import mask_url
from taskctl.failures import FAILED, NOT_ALLOWED, UNAVAILABLE, CommandError, usage

#: What Celery calls AMQP, and whether it is over TLS.
SCHEMES: Mapping[str, bool] = {
    "amqp": False, "pyamqp": False, "librabbitmq": False, "amqps": True,
}  # fmt: skip
_PORTS = {False: 5672, True: 5671}
#: AMQP's reply codes that mean: you may not.
_DENIED = frozenset({403, 530})


class Rabbit:
    """One connection and one channel; a channel that the broker closed is opened anew."""

    def __init__(self, urls: Sequence[str], options: Mapping[str, Any], timeout: float) -> None:
        """Connect to the first of the URLs that answers.

        Raises CommandError, exit 69 if none does, 77 if it lets us not in.
        """
        self._connection: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None
        self.url = ""
        for number, url in enumerate(urls, start=1):
            try:
                self._connection = pika.BlockingConnection(_parameters(url, options, timeout))
            except (exceptions.AMQPError, OSError) as exc:
                error = _refused(url, exc)
                if number == len(urls) or error.exit_code != UNAVAILABLE:
                    raise error from exc
            else:
                self.url = url
                return

    @property
    def alive(self) -> bool:
        """Whether the connection stands, as far as is known."""
        return self._connection is not None and bool(self._connection.is_open)

    def do(self, verb: Callable[[BlockingChannel], dict[str, Any]]) -> dict[str, Any]:
        """Return what came of one word on the channel.

        Raises CommandError with the broker's own words if it refuses.
        """
        try:
            return verb(self._open_channel())
        except exceptions.UnroutableError as exc:
            raise CommandError("the message was returned: no queue is bound for it") from exc
        except exceptions.NackError as exc:
            raise CommandError("the broker did not take the message") from exc
        except exceptions.ChannelClosedByBroker as exc:
            raise _closed(exc.reply_code, exc.reply_text) from exc
        except exceptions.ConnectionClosedByBroker as exc:
            raise _closed(exc.reply_code, exc.reply_text) from exc
        except (exceptions.AMQPError, OSError) as exc:
            raise _lost(self.url, exc) from exc

    def close(self) -> None:
        """Let go of it; what was fetched and not acknowledged goes back to its queue."""
        if self.alive and self._connection is not None:
            with contextlib.suppress(exceptions.AMQPError, OSError):
                self._connection.close()

    def _open_channel(self) -> BlockingChannel:
        assert self._connection is not None
        if self._channel is None or not self._channel.is_open:
            self._channel = self._connection.channel()
            # Without it a message for an exchange that is not there would vanish, and we say OK.
            self._channel.confirm_delivery()
        return self._channel


def check_scheme(url: str) -> None:
    """Refuse a broker that does not speak AMQP."""
    scheme = url.partition("://")[0].partition("+")[0]
    if scheme not in SCHEMES:
        raise usage(
            f"amqp speaks to RabbitMQ alone, and the broker here is {mask_url(url)}",
            "name another with -b amqp://host:5672/vhost",
            "for this one: taskctl queue ls, taskctl purge",
        )


def address(url: str) -> str:
    """Return host, port and virtual host of a URL, for people."""
    parts = urlsplit(url)
    tls = SCHEMES[parts.scheme]
    return f"{parts.hostname or 'localhost'}:{parts.port or _PORTS[tls]}, vhost {_vhost(url)!r}"


def _vhost(url: str) -> str:
    """Return the virtual host as kombu reads it: `//` is `/`, none is `/` too."""
    path = urlsplit(url).path
    return unquote(path[1:]) or "/"


def _parameters(url: str, options: Mapping[str, Any], timeout: float) -> pika.ConnectionParameters:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise usage(f"broker {mask_url(url)}: {str(exc).lower()}") from exc
    tls = SCHEMES[parts.scheme]
    return pika.ConnectionParameters(
        host=parts.hostname or "localhost",
        port=port or _PORTS[tls],
        virtual_host=_vhost(url),
        credentials=pika.PlainCredentials(
            unquote(parts.username or "guest"), unquote(parts.password or "guest")
        ),
        ssl_options=_tls(options.get("ssl") or {}, parts.hostname) if tls else None,
        socket_timeout=timeout,
        blocked_connection_timeout=timeout * 4,
        stack_timeout=timeout * 2,
        client_properties={"product": "taskctl amqp"},
    )


def _tls(given: Mapping[str, Any], host: str | None) -> pika.SSLOptions:
    context = ssl.create_default_context(cafile=given.get("ca_certs"))
    if given.get("cert_reqs") in (ssl.CERT_NONE, "CERT_NONE", "none", 0):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if given.get("certfile"):
        context.load_cert_chain(given["certfile"], given.get("keyfile"))
    return pika.SSLOptions(context, host)


def _refused(url: str, exc: BaseException) -> CommandError:
    """Return the error of a connection that could not be made."""
    where = f"broker {mask_url(url)}"
    if isinstance(exc, exceptions.ProbableAuthenticationError):
        return _not_allowed(f"{where}: it refuses this user or password")
    if isinstance(exc, exceptions.ProbableAccessDeniedError):
        return _not_allowed(
            f"{where}: no virtual host {_vhost(url)!r}, or this user may not use it",
            "the path of the URL names it: amqp://host/name; // at the end is '/'",
        )
    return CommandError(
        f"{where}: {_reason(exc)}", "is RabbitMQ running there, and is this its AMQP port?",
        exit_code=UNAVAILABLE, code="broker",
    )  # fmt: skip


def _not_allowed(message: str, *hints: str) -> CommandError:
    return CommandError(message, *hints, exit_code=NOT_ALLOWED, code="permission")


def _closed(code: int, text: str) -> CommandError:
    """Return the error of a word that the broker refused, in its own words."""
    name, _, sentence = text.partition(" - ")
    message = f"{sentence or name} ({code} {name})" if sentence else f"{name} ({code})"
    denied = code in _DENIED
    return CommandError(
        message, exit_code=NOT_ALLOWED if denied else FAILED,
        code="permission" if denied else "refused",
    )  # fmt: skip


def _lost(url: str, exc: BaseException) -> CommandError:
    return CommandError(
        f"broker {mask_url(url)}: {_reason(exc)}", exit_code=UNAVAILABLE, code="broker"
    )


def _reason(exc: BaseException) -> str:
    """Return why, from the innermost of pika's wrappings."""
    for inner in _wrapped(exc):
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror.lower()
        if str(inner):
            return str(inner).splitlines()[0]
    return "no connection" if isinstance(exc, exceptions.AMQPError) else type(exc).__name__


def _wrapped(exc: BaseException) -> Iterator[BaseException]:
    for part in exc.args:
        found = getattr(part, "exception", part)
        if isinstance(found, BaseException):
            yield from _wrapped(found)
    yield exc
