"""`task_annotations`: attributes of tasks, changed by the settings."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from ..errors import ImproperlyConfigured


def annotate(cls: Any, annotations: list[Any]) -> None:
    """Set on a task class what the settings say of it.

    What is said of `*` comes first, what is said of the task's name wins over it.  `@method`
    wraps a method: its value is called with the method and returns another.
    """
    for source in annotations:
        about_all = _ask(source, "annotate_any")
        if about_all:
            _apply(cls, about_all)
            break
    for source in annotations:
        about_this = _ask(source, "annotate", cls)
        if about_this:
            _apply(cls, about_this)
            break


def prepare_annotations(setting: Any) -> list[Any]:
    """Return the sources a `task_annotations` names.

    Takes a mapping of task name to attributes, an object or class with `annotate(task)` and
    `annotate_any()`, the path of one, or a list of these.
    """
    if not setting:
        return []
    given = setting if isinstance(setting, list | tuple) else [setting]
    return [_source(one) for one in given]


def _source(given: Any) -> Any:
    if isinstance(given, Mapping):
        return given
    if isinstance(given, str):
        given = _load(given)
    if isinstance(given, type):
        given = given()
    if not hasattr(given, "annotate") and not hasattr(given, "annotate_any"):
        raise ImproperlyConfigured(
            f"task_annotations holds {given!r}: a mapping of task name to attributes is expected, "
            "or an object with annotate(task)"
        )
    return given


def _load(path: str) -> Any:
    module, _, name = path.replace(":", ".").rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as exc:
        raise ImproperlyConfigured(f"task_annotations: no class {path!r}: {exc}") from exc


def _ask(source: Any, method: str, *args: Any) -> Mapping[str, Any] | None:
    if isinstance(source, Mapping):
        found: Mapping[str, Any] | None = source.get(args[0].name if args else "*")
        return found
    asked = getattr(source, method, None)
    return asked(*args) if asked is not None else None


def _apply(cls: Any, attributes: Mapping[str, Any]) -> None:
    for name, value in attributes.items():
        if name.startswith("@"):
            wrap_method(cls, name[1:], value)
        else:
            setattr(cls, name, value)


def wrap_method(cls: Any, method: str, around: Any) -> None:
    """Put `around(method)` in the place of a method, and of what was put there before."""
    plain = getattr(cls, method)
    plain = getattr(plain, "__unannotated__", plain)
    wrapped = around(plain)
    wrapped.__unannotated__ = plain
    setattr(cls, method, wrapped)
