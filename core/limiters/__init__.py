"""Limiters: where limits that hold for all workers are counted; this file chooses one by its URL.

May import the ground, wire and brokers (for the line to Redis).  A sibling is imported when its
scheme is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from ..errors import ImproperlyConfigured
from .base import Limiter

__all__ = ["Limiter", "can_limit", "open_limiter"]

#: Scheme -> (sibling, class).
_SIBLINGS = {
    "memory": ("memory", "MemoryLimiter"),
    "redis": ("redis", "RedisLimiter"),
    "rediss": ("redis", "RedisLimiter"),
    "redis+socket": ("redis", "RedisLimiter"),
    "sentinel": ("redis", "RedisLimiter"),
    "sqlite": ("sqlite", "SqliteLimiter"),
}


def can_limit(url: str) -> bool:
    """Return whether limits can be counted at such a URL."""
    return url.partition("://")[0].lower() in _SIBLINGS


def open_limiter(url: str, *, options: Mapping[str, Any] | None = None) -> Limiter:
    """Return the limiter at `url`; it connects when it is first asked.

    `options` are those of a broker at that URL (prefix of keys, TLS, sentinels).

    Raises ImproperlyConfigured for a URL at which nothing can be counted.
    """
    scheme = url.partition("://")[0].lower()
    if scheme not in _SIBLINGS:
        raise ImproperlyConfigured(
            f"limits cannot be counted at {scheme}://: choose {', '.join(_SIBLINGS)}"
        )
    module, name = _SIBLINGS[scheme]
    found: type[Limiter] = getattr(importlib.import_module(f".{module}", __name__), name)
    return found(url, options=options)
