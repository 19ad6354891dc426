"""Result backends: where results are kept; this file chooses one by the scheme of its URL.

May import the ground and wire.  A sibling is imported when its scheme is asked for.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

from ..errors import ImproperlyConfigured
from .base import Backend

__all__ = ["Backend", "open_backend"]

#: Scheme -> (sibling, class).
_SIBLINGS = {
    "disabled": ("disabled", "DisabledBackend"),
    "memory": ("memory", "MemoryBackend"),
    "redis": ("redis", "RedisBackend"),
    "rediss": ("redis", "RedisBackend"),
    "redis+socket": ("redis", "RedisBackend"),
    "sqlite": ("sqlite", "SqliteBackend"),
}


def open_backend(
    url: str | None,
    *,
    options: Mapping[str, Any] | None = None,
    expires: float | None = 86400.0,
    failure_expires: float | None = None,
    chord_expires: float | None = None,
) -> Backend:
    """Return the backend that `url` names; it connects when `open` is called.

    None and "disabled" keep no results.  `options` are `result_backend_transport_options`;
    `expires`, `failure_expires` and `chord_expires` are seconds, see Backend.

    Raises ImproperlyConfigured for an unknown scheme, naming the nearest and all there are.
    """
    url = url or "disabled"
    scheme, separator, _ = url.partition("://")
    if not separator:
        url = f"{scheme}://"
    if scheme not in _SIBLINGS:
        raise ImproperlyConfigured(_unknown(scheme))
    module, name = _SIBLINGS[scheme]
    cls = getattr(importlib.import_module(f".{module}", __name__), name)
    backend: Backend = cls(
        url,
        options=options,
        expires=expires,
        failure_expires=failure_expires,
        chord_expires=chord_expires,
    )
    return backend


def _unknown(scheme: str) -> str:
    near = difflib.get_close_matches(scheme, _SIBLINGS, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"unknown result backend {scheme!r}: {hint}choose {', '.join(_SIBLINGS)}"
