"""Small tools of Celery and kombu that programs import.

Behaviour: Celery 5.7 utils/imports.py, utils/serialization.py; kombu 5.7 utils.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import importlib
import importlib.metadata
import os
import socket
import sys
import uuid as uuids
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from numbers import Real
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from taskctl.core.loader import import_object
from taskctl.core.tasks.registry import task_name

_TRUE = frozenset(("1", "true", "yes", "on"))
_FALSE = frozenset(("", "0", "false", "no", "off"))


def uuid(*_: Any) -> str:
    """Return a new unique id."""
    return str(uuids.uuid4())


class cached_property(functools.cached_property[Any]):
    """A property that is worked out once; `setter` and `deleter` see what comes and goes."""

    def __init__(self, fget: Callable[[Any], Any], fset: Any = None, fdel: Any = None) -> None:
        super().__init__(fget)
        self._set, self._delete = fset, fdel

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self.attrname] = (
            value if self._set is None else self._set(instance, value)
        )

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is not None and self.attrname in instance.__dict__:
            return instance.__dict__[self.attrname]
        return super().__get__(instance, owner)

    def __delete__(self, instance: Any) -> None:
        value = instance.__dict__.pop(str(self.attrname), None)
        if self._delete is not None and value is not None:
            self._delete(instance, value)

    def setter(self, fset: Any) -> cached_property:
        made = type(self)(self.func, fset, self._delete)
        made.attrname = self.attrname
        return made

    def deleter(self, fdel: Any) -> cached_property:
        made = type(self)(self.func, self._set, fdel)
        made.attrname = self.attrname
        return made


# --- names and modules ----------------------------------------------------------------------


def symbol_by_name(
    name: Any,
    aliases: Mapping[str, Any] | None = None,
    imp: Any = None,
    package: str | None = None,
    sep: str = ".",
    default: Any = None,
    **kwargs: Any,
) -> Any:
    """Return the object that `module.attr` or `module:attr` names; what is no text as it is.

    `default` is returned if it is given and the import fails.
    """
    if not isinstance(name, str):
        return name
    name = (aliases or {}).get(name) or name
    if not isinstance(name, str):
        return name
    module, colon, attribute = name.partition(":")
    if not colon:
        module, _, attribute = name.rpartition(sep)
        module, attribute = (module, attribute) if module or package else (attribute, "")
    try:
        found = (imp or importlib.import_module)(module or package or "", package=package, **kwargs)
        return getattr(found, attribute) if attribute else found
    except (ImportError, AttributeError):
        if default is None:
            raise
        return default


def qualname(obj: Any) -> str:
    """Return the dotted name of a class or function, or of the class of anything else."""
    kind = obj if hasattr(obj, "__name__") else type(obj)
    name = str(getattr(kind, "__qualname__", kind.__name__))
    return name if "." in name else f"{kind.__module__}.{name}"


def instantiate(name: Any, *args: Any, **kwargs: Any) -> Any:
    """Return an instance of the class that a path names."""
    return symbol_by_name(name)(*args, **kwargs)


@contextlib.contextmanager
def cwd_in_path() -> Iterator[str | None]:
    """Let modules of the working directory be imported for a while."""
    folder = os.getcwd()
    if folder in sys.path:
        yield None
        return
    sys.path.insert(0, folder)
    try:
        yield folder
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def import_from_cwd(module: str, imp: Any = None, package: str | None = None) -> ModuleType:
    """Import a module; the working directory counts."""
    with cwd_in_path():
        found: ModuleType = (imp or importlib.import_module)(module, package=package)
        return found


def find_module(module: str, path: Any = None, imp: Any = None) -> ModuleType:
    """Import a module of any depth; the working directory counts."""
    with cwd_in_path():
        found: ModuleType = (imp or importlib.import_module)(module)
        return found


def try_import(module: str, default: Any = None) -> Any:
    """Return a module, or `default` if it cannot be imported."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return default


def module_file(module: ModuleType) -> str:
    """Return the file of a module's source."""
    return (
        str(module.__file__).removesuffix("c")
        if str(module.__file__).endswith(".pyc")
        else str(module.__file__)
    )


def gen_task_name(app: Any, name: str, module_name: str | None) -> str:
    """Return the name of a task that is given none."""
    return task_name(app.main, name, module_name)


def load_extension_class_names(namespace: str) -> Iterator[tuple[str, str]]:
    """Yield name and path of what packages registered as entry points."""
    for point in importlib.metadata.entry_points(group=namespace):
        yield point.name, point.value


def load_extension_classes(namespace: str) -> Iterator[tuple[str, Any]]:
    """Yield name and class of what packages registered as entry points."""
    for name, path in load_extension_class_names(namespace):
        yield name, import_object(path)


# --- values -----------------------------------------------------------------------------------


def strtobool(term: Any, table: Mapping[str, bool] | None = None) -> Any:
    """Return what a word of the environment means: yes, no, on, off, true, false, 1, 0.

    Raises TypeError for another word; what is no text comes back as it is.
    """
    if not isinstance(term, str):
        return term
    word = term.lower()
    if table is not None and word in table:
        return table[word]
    if table is None and word in _TRUE | _FALSE:
        return word in _TRUE
    raise TypeError(f"not a truth value: {term!r}: say yes or no, true or false, on or off, 1 or 0")


def b64encode(data: bytes | str) -> str:
    """Return base64 text of bytes, or of text in UTF-8."""
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode("ascii")


def b64decode(data: bytes | str) -> bytes:
    """Return the bytes of a base64 text."""
    return base64.b64decode(data)


def jsonify(
    obj: Any,
    builtin_types: tuple[type, ...] = (Real, str),
    key: Any = None,
    keyfilter: Callable[[Any], bool] | None = None,
    unknown_type_filter: Callable[[Any], Any] | None = None,
) -> Any:
    """Return a value in what plain JSON can hold; times as ISO text, a timedelta as text."""

    def again(value: Any, name: Any = None) -> Any:
        return jsonify(value, builtin_types, name, keyfilter, unknown_type_filter)

    custom = getattr(obj, "__json__", None)
    if custom is not None and not isinstance(obj, type):
        return custom()
    if obj is None or isinstance(obj, builtin_types):
        return obj
    if isinstance(obj, Mapping):
        return {k: again(v, k) for k, v in obj.items() if keyfilter is None or keyfilter(k)}
    if isinstance(obj, tuple | list):
        return [again(value) for value in obj]
    if isinstance(obj, datetime):
        text = obj.isoformat()
        text = text[:23] + text[26:] if obj.microsecond else text
        return text[:-6] + "Z" if text.endswith("+00:00") else text
    if isinstance(obj, date | time):
        return obj.isoformat()
    if isinstance(obj, timedelta):
        return str(obj)
    if unknown_type_filter is None:
        raise ValueError(f"JSON has no form for {type(obj).__name__}: {obj!r:.100} (key {key!r})")
    return unknown_type_filter(obj)


def subclass_exception(name: str, parent: type[BaseException], module: str) -> type[BaseException]:
    """Return a new exception class."""
    return type(name, (parent,), {"__module__": module})


@contextlib.contextmanager
def default_socket_timeout(timeout: float) -> Iterator[None]:
    """Let new sockets have this time limit for a while."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timeout)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def parse_url(url: str) -> dict[str, Any]:
    """Return the parts of a broker's URL, by the names of kombu's connection arguments."""
    parts = urlsplit(url)
    found = {
        "transport": parts.scheme,
        "hostname": unquote(parts.hostname or "") or None,
        "port": parts.port,
        "userid": unquote(parts.username or "") or None,
        "password": unquote(parts.password or "") or None,
        "virtual_host": unquote(parts.path.removeprefix("/")) or None,
    }
    return {**found, **dict(parse_qsl(parts.query))}


__all__: Sequence[str] = (
    "b64decode", "b64encode", "cached_property", "cwd_in_path", "default_socket_timeout",
    "find_module", "gen_task_name", "import_from_cwd", "instantiate", "jsonify",
    "load_extension_class_names", "load_extension_classes", "module_file", "parse_url", "qualname",
    "strtobool", "subclass_exception", "symbol_by_name", "try_import", "uuid",
)  # fmt: skip
