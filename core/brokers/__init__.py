"""Brokers carry messages: one contract (`base`), one sibling per product, chosen by URL scheme.

May import wire and ground.  A sibling is loaded when its scheme is asked for, since its driver
may be absent.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

from ..errors import ImproperlyConfigured
from .base import Binding, Broker, Delivery, Heard, NodeRecord, QueueStat, Waiting

__all__ = [
    "Binding",
    "Broker",
    "Delivery",
    "Heard",
    "NodeRecord",
    "QueueStat",
    "SCHEMES",
    "Waiting",
    "open_broker",
]

#: URL scheme to (sibling, class).
SCHEMES = {
    "memory": ("memory", "MemoryBroker"),
    "sqlite": ("sqlite", "SqliteBroker"),
    "redis": ("redis", "RedisBroker"),
    "rediss": ("redis", "RedisBroker"),
    "redis+socket": ("redis", "RedisBroker"),
    "sentinel": ("redis", "RedisBroker"),
    "amqp": ("amqp", "AmqpBroker"),
    "amqps": ("amqp", "AmqpBroker"),
    "pyamqp": ("amqp", "AmqpBroker"),
}

#: Schemes people will try because Celery knows them, and what to do instead.
_UNSUPPORTED = {
    **dict.fromkeys(
        ("sqs", "confluentkafka", "mongodb", "zookeeper", "filesystem", "sqla+sqlite"),
        "this kind of broker is not supported: ",
    ),
}


def open_broker(
    url: str, *, options: Mapping[str, Any] | None = None, owner: str | None = None
) -> Broker:
    """Return the broker of a URL, constructed but not connected: call its `open`.

    Raises ImproperlyConfigured for a URL no sibling takes or whose driver is not installed.
    """
    scheme, separator, _ = url.partition("://")
    scheme = scheme.lower()
    if scheme in _UNSUPPORTED and separator:
        raise ImproperlyConfigured(
            f"{_UNSUPPORTED[scheme]}use redis:// or sqlite:// for the broker"
        )
    if scheme not in SCHEMES or not separator:
        raise ImproperlyConfigured(_unknown(url, scheme, bool(separator)))
    sibling, name = SCHEMES[scheme]
    try:
        module = importlib.import_module(f".{sibling}", __name__)
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.startswith(__name__):
            raise
        raise ImproperlyConfigured(
            f"the broker {scheme}:// needs the Python package {exc.name!r}: pip install {exc.name}"
        ) from exc
    broker: Broker = getattr(module, name)(url, options=options, owner=owner)
    return broker


def _unknown(url: str, scheme: str, has_scheme: bool) -> str:
    """Say what is wrong with a URL; only its scheme is shown, the rest may hold a password."""
    choices = ", ".join(f"{known}://" for known in SCHEMES)
    if not has_scheme:
        shown = repr(url) if "@" not in url else "the broker URL"
        return f"{shown} has no scheme: write one of {choices}"
    nearest = difflib.get_close_matches(scheme, SCHEMES, n=1)
    hint = f"did you mean {nearest[0]}://? " if nearest else ""
    return f"unknown broker {scheme + '://'!r}: {hint}choose one of {choices}"
