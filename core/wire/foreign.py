"""Celery's names for what is ours, so that exceptions and signatures mean the same on both sides.

Written, our own classes bear Celery's names; read, Celery's names become our classes, whether
Celery is installed or not.  Names that are nobody's pass through untouched.
"""

from __future__ import annotations

import datetime
import decimal
import io
import pickle
import pkgutil
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from .. import errors

#: Where Celery 5.7 keeps the exceptions that reach a result or a pickled body.
_HOMES: dict[str, tuple[type[BaseException], ...]] = {
    "celery.exceptions": (
        errors.AlreadyRegistered,
        errors.BackendError,
        errors.ChordError,
        errors.Ignore,
        errors.ImproperlyConfigured,
        errors.MaxRetriesExceededError,
        errors.NotRegistered,
        errors.QueueNotFound,
        errors.Reject,
        errors.Retry,
        errors.SecurityError,
        errors.TaskPredicate,
        errors.TaskRevokedError,
        errors.TimeoutError,
        errors.InvalidTaskError,
    ),
    "billiard.exceptions": (
        errors.SoftTimeLimitExceeded,
        errors.Terminated,
        errors.TimeLimitExceeded,
        errors.WorkerLostError,
    ),
    "kombu.exceptions": (errors.ContentDisallowed, errors.DecodeError, errors.EncodeError),
}


def signature(fields: dict[str, Any]) -> dict[str, Any]:
    """Stand in for `celery.canvas.signature`: a pickled signature is read as its plain fields."""
    return dict(fields)


def wrapped_exception(module: str, name: str, args: Any, text: str = "") -> BaseException:
    """Stand in for the wrapper in which Celery pickles an exception that cannot be pickled."""
    return made_up_class(name, module)(*args)


#: Our object -> (module, name) as Celery writes it.
_THEIR_NAME: dict[Any, tuple[str, str]] = {
    cls: (module, cls.__name__) for module, classes in _HOMES.items() for cls in classes
} | {
    errors.TaskctlError: ("celery.exceptions", "CeleryError"),
    errors.BrokerConnectionError: ("kombu.exceptions", "OperationalError"),
    signature: ("celery.canvas", "signature"),
}
#: (module, name) -> our object; Celery hands on a few names from the modules of others.
_OURS: dict[tuple[str, str], Any] = (
    {name: ours for ours, name in _THEIR_NAME.items()}
    | {("celery.exceptions", cls.__name__): cls for cls in _HOMES["billiard.exceptions"]}
    | {
        ("celery.exceptions", "OperationalError"): errors.BrokerConnectionError,
        ("celery.utils.serialization", "UnpickleableExceptionWrapper"): wrapped_exception,
    }
)


def their_name(cls: type) -> tuple[str, str]:
    """Return (module, qualified name) under which Celery knows this exception class."""
    return _THEIR_NAME.get(cls) or (cls.__module__, cls.__qualname__)


def our_class(module: str, name: str) -> Any:
    """Return what is ours under Celery's name, or None."""
    return _OURS.get((module, name))


@lru_cache(maxsize=256)
def made_up_class(name: str, module: str) -> type[Exception]:
    """Return an exception class of that qualified name, for one whose code is not loaded here."""
    short = name.rpartition(".")[2]
    place = {"__module__": module, "__qualname__": name}
    return type(short if short.isidentifier() else "UnknownError", (Exception,), place)


# --- pickles --------------------------------------------------------------------------------

#: Must equal kombu 5.7 serialization.py pickle_protocol.
_PICKLE_PROTOCOL = 4


class _Pickler(pickle.Pickler):
    """Writes our classes by Celery's names, as a call of the standard library's resolve_name."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, dict) and "subtask_type" in obj and type(obj) is not dict:
            return signature, (dict(obj),)
        if isinstance(obj, type) or obj is signature:
            theirs = _THEIR_NAME.get(obj)
            if theirs is not None:
                return pkgutil.resolve_name, (":".join(theirs),)
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    """Reads Celery's names as our classes."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("pkgutil", "resolve_name"):
            return _resolve
        ours = our_class(module, name)
        return super().find_class(module, name) if ours is None else ours


def _resolve(path: str) -> Any:
    module, _, name = path.partition(":")
    return our_class(module, name) or pkgutil.resolve_name(path)


def pickle_encode(value: Any) -> bytes:
    """Return the pickle of `value`; signatures and our errors bear Celery's names."""
    buffer = io.BytesIO()
    _Pickler(buffer, _PICKLE_PROTOCOL).dump(value)
    return buffer.getvalue()


def pickle_decode(data: bytes) -> Any:
    """Return the value of a pickle; Celery's signatures come back as dicts.

    A pickle runs code: check that the type is accepted before calling this.
    """
    return _Unpickler(io.BytesIO(data)).load()


class _StandIn:
    """Stands for any object of a pickle that is looked at without running its code."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _StandIn:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __hash__(self) -> int:
        return 0

    def __call__(self, *args: Any, **kwargs: Any) -> _StandIn:
        return self

    def append(self, item: Any) -> None:
        pass

    def extend(self, items: Any) -> None:
        pass

    def add(self, item: Any) -> None:
        pass

    def __repr__(self) -> str:
        return f"<{type(self).__qualname__}>"


def _tame(make: Callable[..., Any]) -> Callable[..., Any]:
    """Return what makes the object, or a stand-in where its arguments are of no use."""

    def attempt(*args: Any) -> Any:
        try:
            return make(*args)
        except Exception:  # an argument may be a stand-in itself, or anything at all
            return _StandIn()

    return attempt


def _latin(text: Any, coding: Any = None) -> bytes:
    """Return bytes as pickles before protocol 3 tell of them."""
    return bytes(text.encode("latin-1"))


#: What may be made of a pickle that is looked at: it does nothing, and costs nothing.
_HARMLESS: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): _tame(_latin),
    ("decimal", "Decimal"): _tame(decimal.Decimal),
    **{
        ("datetime", name): _tame(getattr(datetime, name))
        for name in ("datetime", "date", "time", "timedelta", "timezone")
    },
}


class _Onlooker(pickle.Unpickler):
    """Reads plain values; whatever is more becomes a stand-in."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _HARMLESS:
            return _HARMLESS[module, name]
        return type(name, (_StandIn,), {"__qualname__": name})

    def persistent_load(self, pid: Any) -> Any:
        return _StandIn()


def pickle_look(data: bytes) -> Any:
    """Return the plain values of a pickle, stand-ins for its objects; runs no code.

    Raises DecodeError if it is no pickle.
    """
    try:
        return _Onlooker(io.BytesIO(data)).load()
    except Exception as exc:  # a broken pickle may raise almost anything
        raise errors.DecodeError(f"body is not application/x-python-serialize: {exc}") from exc
