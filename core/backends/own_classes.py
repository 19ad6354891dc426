"""Result backends that a project brings along: classes, or the paths of classes."""

from __future__ import annotations

from typing import Any

from ..errors import ImproperlyConfigured
from ..loader import import_object
from .base import Backend

#: Classes of Celery's that people name by their path, and the scheme of ours for each.
_CELERYS = {
    "celery.backends.rpc": "rpc://",
    "celery.backends.redis": "redis:// (or rediss://, sentinel://)",
    "celery.backends.cache": "cache+memcached://",
    "celery.backends.database": "db+postgresql://",
    "celery.backends.filesystem": "file://",
    "celery.backends.mongodb": "mongodb://",
    "celery.backends.base": "disabled://",
    "django_celery_results.backends": "django-db or django-cache",
}


def is_path(name: str) -> bool:
    """Return whether a name is the path of a class, `module:Class` or `module.Class`."""
    return "." in name.strip(".") or ":" in name


def own_class(given: Any) -> type[Backend]:
    """Return the class that is given, or named by its path.

    Raises ImproperlyConfigured if it cannot be imported, or is no Backend of taskctl's.
    """
    found = given
    if isinstance(given, str):
        ours = next((url for path, url in _CELERYS.items() if given.startswith(path)), None)
        if ours is not None:
            raise ImproperlyConfigured(
                f"result backend {given!r} is a class of Celery's, which taskctl cannot use:"
                f" name its own as {ours}"
            )
        try:
            found = import_object(given)
        except Exception as exc:  # the module is the user's code, and may raise anything
            reason = str(exc) or type(exc).__name__
            raise ImproperlyConfigured(
                f"result backend {given!r} cannot be imported: {reason}"
            ) from exc
    if not (isinstance(found, type) and issubclass(found, Backend)):
        raise ImproperlyConfigured(
            f"result backend {given!r} is no subclass of taskctl.core.backends.Backend"
            f"{_kind(found)}: derive from it, or name a backend by its URL"
        )
    return found


def _kind(found: Any) -> str:
    bases = getattr(found, "__mro__", ())
    if any(base.__module__.startswith("celery.backends") for base in bases):
        return " but of Celery's"
    return ""
