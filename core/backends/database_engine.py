"""Engines of the database backend, made from a URL and settings."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from ..errors import ImproperlyConfigured
from .guards import SQLITE_GUARD

#: What `create_engine` is given unless `database_engine_options` say otherwise.
#: Source: Celery 5.7 app/defaults.py.
_ENGINE_OPTIONS = {"pool_pre_ping": True, "pool_recycle": 3600}
#: Options that belong to a pool; without one (`database_short_lived_sessions`) they have no use.
_POOL_OPTIONS = ("pool", "max_overflow", "echo_pool")
#: Seconds to wait for a PostgreSQL server that does not answer; its own default is for ever.
_CONNECT_TIMEOUT = 10
#: What servers and files say that will not go away by trying again.
_NOT_AWAY = re.compile(
    r"authentication|password|does not exist|no such|pg_hba|permission|denied|unknown database"
    r"|unable to open|read-?only|not a database",
    re.IGNORECASE,
)


def guard_of(engine: sa.Engine) -> AbstractContextManager[Any]:
    """Return what to hold while this engine is used."""
    return SQLITE_GUARD if engine.dialect.name == "sqlite" else nullcontext()


def make_engine(url: str, options: Mapping[str, Any], where: str) -> sa.Engine:
    """Return an engine that has not connected yet.

    Raises ImproperlyConfigured for a URL or options that cannot be used, and for a driver that is
    not installed, naming its package.  `where` says whose engine it is.
    """
    try:
        parsed = sa.make_url(url)
        engine = sa.create_engine(parsed, **_engine_options(parsed, options))
    except NoSuchModuleError as exc:
        raise ImproperlyConfigured(f"{where}: SQLAlchemy does not know this database") from exc
    except ArgumentError as exc:
        text = "after db+ comes a URL of SQLAlchemy: dialect://user:password@host/name"
        raise ImproperlyConfigured(f"{where}: {text}") from exc
    except (TypeError, ValueError) as exc:
        text = str(exc).splitlines()[0]
        raise ImproperlyConfigured(f"{where}: database_engine_options: {text}") from exc
    except ImportError as exc:
        raise ImproperlyConfigured(
            f"{where} needs the package {exc.name}, which is not installed: pip install"
            f" {exc.name}, or name another driver in the URL (db+postgresql+psycopg://...)"
        ) from exc
    callback = _callback(options.get("database_engine_callback"))
    if callback is not None:
        callback(engine)
    return engine


def _engine_options(url: sa.URL, options: Mapping[str, Any]) -> dict[str, Any]:
    chosen = {**_ENGINE_OPTIONS, **(options.get("database_engine_options") or {})}
    if options.get("database_short_lived_sessions"):
        chosen = {k: v for k, v in chosen.items() if not k.startswith(_POOL_OPTIONS)}
        chosen["poolclass"] = sa.NullPool
    if url.get_backend_name() == "postgresql" and "connect_timeout" not in url.query:
        given = chosen.get("connect_args") or {}
        chosen["connect_args"] = {"connect_timeout": _CONNECT_TIMEOUT, **given}
    return chosen


def _callback(given: Any) -> Callable[[sa.Engine], Any] | None:
    if isinstance(given, str):
        module, _, name = given.replace(":", ".").rpartition(".")
        try:
            given = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as exc:
            raise ImproperlyConfigured(f"database_engine_callback: {exc}") from exc
    if given is not None and not callable(given):
        raise ImproperlyConfigured(f"database_engine_callback must be callable, got {given!r}")
    return given  # type: ignore[no-any-return]


def may_pass(exc: DBAPIError) -> bool:
    """Return whether a database that said this may serve us in a moment."""
    lost = isinstance(exc, sa.exc.OperationalError | sa.exc.InterfaceError)
    return lost and not _NOT_AWAY.search(str(exc.orig))
