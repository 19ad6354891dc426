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
from .own_classes import is_path, own_class

__all__ = ["Backend", "open_backend"]

#: Schemes that stand before the URL of another product, with a plus between.
_FAMILIES = ("cache", "database", "db", "mongodb")
#: Scheme -> (sibling, class).
_SIBLINGS = {
    "cache": ("memcached", "MemcachedBackend"),
    "cache+memory": ("memory", "MemoryBackend"),
    "database": ("database", "DatabaseBackend"),
    "db": ("database", "DatabaseBackend"),
    "disabled": ("disabled", "DisabledBackend"),
    "django-cache": ("django_cache", "DjangoCacheBackend"),
    "django-db": ("django_db", "DjangoDatabaseBackend"),
    "file": ("filesystem", "FilesystemBackend"),
    "memcached": ("memcached", "MemcachedBackend"),
    "memory": ("memory", "MemoryBackend"),
    "mongodb": ("mongodb", "MongoBackend"),
    "redis": ("redis", "RedisBackend"),
    "rediss": ("redis", "RedisBackend"),
    "redis+socket": ("redis", "RedisBackend"),
    "rpc": ("rpc", "RpcBackend"),
    "sentinel": ("redis", "RedisBackend"),
    "sqlite": ("sqlite", "SqliteBackend"),
}


#: Sibling -> (module of its driver, what to install for it).
_DRIVERS = {
    "database": ("sqlalchemy", "sqlalchemy"),
    "django_cache": ("django", "django"),
    "django_db": ("django", "django"),
    "memcached": ("pymemcache", "pymemcache"),
    "mongodb": ("pymongo", "mongodb"),
}

_ROWS = ("result_serializer", "result_accept_content", "accept_content")
#: Sibling -> settings that it takes as options, under their own names.
_SETTINGS = {
    "database": (
        *_ROWS,
        "database_create_tables_at_setup",
        "database_engine_callback",
        "database_engine_options",
        "database_short_lived_sessions",
        "database_table_names",
        "database_table_schemas",
    ),
    "django_cache": (*_ROWS, "cache_backend"),
    "django_db": _ROWS,
    "memcached": ("result_serializer", "cache_backend_options"),
    "mongodb": (*_ROWS, "mongodb_backend_settings"),
}


def settings_of(url: str) -> tuple[str, ...]:
    """Return the names of the settings that the backend of `url` takes as options."""
    known = _known(url.partition("://")[0])
    return () if known is None else _SETTINGS.get(known[0], ())


def open_backend(
    url: str | type[Backend] | None,
    *,
    options: Mapping[str, Any] | None = None,
    expires: float | None = 86400.0,
    failure_expires: float | None = None,
    chord_expires: float | None = None,
    post: Any = None,
    classes: Mapping[str, Any] | None = None,
) -> Backend:
    """Return the backend that `url` names; it connects when `open` is called.

    None and "disabled" keep no results.  `options` are `result_backend_transport_options`;
    `expires`, `failure_expires` and `chord_expires` are seconds, see Backend; `post` is how
    results travel, for rpc.  `classes` maps further schemes to classes or their paths, and wins
    over ours; a class, or its path, may also stand in the place of the URL or of its scheme.

    Raises ImproperlyConfigured for an unknown scheme, naming the nearest and all there are, for
    a driver that is not installed, naming its package, and for a class that is no Backend.
    """
    cls, url = _choose(url or "disabled", classes or {})
    settings: dict[str, Any] = {"post": post} if cls.travels else {}
    return cls(
        url,
        options=options,
        expires=expires,
        failure_expires=failure_expires,
        chord_expires=chord_expires,
        **settings,
    )


def _choose(url: str | type[Backend], classes: Mapping[str, Any]) -> tuple[type[Backend], str]:
    """Return the class, and the URL that it is given."""
    if not isinstance(url, str):
        return own_class(url), ""
    scheme, separator, _ = url.partition("://")
    family, plus, rest = url.partition("+") if "+" in scheme else (scheme, "", url)
    for name in (scheme, family):
        if name in classes:
            return own_class(classes[name]), url
    known = _known(scheme)
    if known is not None:
        return _load(scheme, *known), url if separator else f"{scheme}://"
    if is_path(family):  # module:Class, module.Class, or that with +url behind it
        return own_class(family), rest if plus else ""
    raise ImproperlyConfigured(_unknown(scheme))


def _known(scheme: str) -> tuple[str, str] | None:
    family, plus, _ = scheme.partition("+")
    return _SIBLINGS.get(scheme) or (_SIBLINGS[family] if plus and family in _FAMILIES else None)


def _load(scheme: str, module: str, name: str) -> type[Backend]:
    """Return the class of a sibling."""
    try:
        found: type[Backend] = getattr(importlib.import_module(f".{module}", __name__), name)
        return found
    except ModuleNotFoundError as exc:
        driver, extra = _DRIVERS.get(module, (None, None))
        if driver is None or (exc.name or "").partition(".")[0] != driver:
            raise
        raise ImproperlyConfigured(
            f"result backend {scheme}:// needs the package {driver}, which is not installed:"
            f" pip install 'taskctl[{extra}]'"
        ) from exc


def _unknown(scheme: str) -> str:
    near = difflib.get_close_matches(scheme, _SIBLINGS, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"unknown result backend {scheme!r}: {hint}choose {', '.join(_SIBLINGS)}"
