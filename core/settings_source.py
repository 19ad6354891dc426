"""Where a setting comes from: a module, a class, an object or a dict, read once.

A source knows each setting's new name, how it was written, and on which line.
In a dict every key that looks like a setting must be one.  A module or an object holds other
things too, so functions, classes, modules and names without a setting's prefix pass.
"""

from __future__ import annotations

import ast
import difflib
import os
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

from .errors import ConfigSourceNotFound, ImproperlyConfigured, SettingError
from .loader import import_object, is_missing, reading_note
from .settings_table import NEW_NAMES, PREFIXES, SETTINGS
from .settings_types import coerce
from .ways import celerys

#: What an old name began with; a name that nearly is one of them is a slip.
_OLD_PREFIXES = ("CELERY_", "CELERYD_", "CELERYBEAT_", "BROKER_")

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class Origin(NamedTuple):
    """Where a value was set: `kind` is default, app, object, env, cli or toml.

    `path` is a file, or the variable's name for env; `line` is None where it is not known.
    """

    kind: str
    path: str | None = None
    line: int | None = None

    @property
    def where(self) -> str:
        """The place as `proj/config.py:12`, `env NAME` or `command line`; else empty."""
        if self.kind == "env":
            return f"env {self.path}"
        if self.kind == "cli":
            return self.path or "command line"
        if not self.path:
            return ""
        path = shorten(self.path)
        return f"{path}:{self.line}" if self.line else path

    def __str__(self) -> str:
        if self.kind in ("app", "object"):
            kind = "app" if self.kind == "app" else "config object"
            return f"{kind}, {self.where}" if self.kind == "app" and self.path else (
                self.where or kind)  # fmt: skip
        return self.where or self.kind


DEFAULT = Origin("default")


def shorten(path: str) -> str:
    """Return a path as seen from the working directory, if it lies below."""
    try:
        relative = os.path.relpath(path)
    except (ValueError, OSError):
        return path
    return path if relative.startswith("..") else relative


def caller() -> tuple[str | None, int | None]:
    """Return file and line of the innermost caller outside taskctl."""
    frame = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if not path.startswith((_HERE, "<frozen")):
            return path, frame.f_lineno
        frame = frame.f_back  # type: ignore[assignment]
    return None, None


class Names:
    """How settings are written: with a namespace in front, in the new or in the old way."""

    def __init__(self, namespace: str | None = None) -> None:
        prefix = namespace.rstrip("_") + "_" if namespace else ""
        self.prefix = prefix.upper() if prefix.isupper() else prefix.lower()

    def new_name(self, written: str) -> str | None:
        """Return the setting's name, or None if it is none."""
        return self.rank(written)[1]

    def rank(self, written: str) -> tuple[int, str | None]:
        """Return how good a spelling this is (0 is best), and the setting's name."""
        stripped = self.strip(written)
        if stripped in SETTINGS:
            return 0, stripped
        if written in SETTINGS:
            return 1, written
        return 2, NEW_NAMES.get(written)

    def strip(self, written: str) -> str | None:
        """Return a name without its namespace, in lower case; None if it has none."""
        if not self.prefix or not written.startswith(self.prefix):
            return None
        rest = written[len(self.prefix) :]
        cased = rest.upper() if self.prefix.isupper() else rest.lower()
        return rest.lower() if rest == cased else None

    def complaint(self, written: str) -> str | None:
        """Return what is wrong with a name that is no setting, or None if it may stand."""
        if celerys():
            return None  # Celery passes over what it does not know
        stripped = self.strip(written)
        reserved = (stripped or written).startswith(PREFIXES)
        foreign = stripped is None and not written.startswith(_OLD_PREFIXES)
        # Others put names of their own beside ours: CELERY_EMAIL_TASK_CONFIG is no slip.
        slip = not foreign and bool(self.nearest(written, 0.88))
        if not reserved and not slip:
            return None
        near = self.nearest(written)
        return f"unknown setting {written!r}" + (f": {near}?" if near else "")

    def nearest(self, written: str, cutoff: float = 0.8) -> str:
        """Return the right name that is nearest to a wrong one, written in the same way."""
        stripped = self.strip(written)
        if stripped is None and written.startswith(_OLD_PREFIXES):
            return _nearest(written, NEW_NAMES, cutoff)
        near = _nearest(stripped or written, SETTINGS, cutoff)
        if not near or stripped is None:
            return near
        return self.prefix + (near.upper() if self.prefix.isupper() else near)


def _nearest(name: str, names: Iterable[str], cutoff: float) -> str:
    return next(iter(difflib.get_close_matches(name, list(names), 1, cutoff)), "")


def reject_mixture(written: Iterable[str], where: str = "") -> None:
    """Raise ImproperlyConfigured if old and new names stand side by side, with what to rename.

    As Celery: the majority is right, and a setting given under both names is no harm.
    Settings without an old name belong to both ways.
    """
    have = set(written)
    new = {name for name in have if name in SETTINGS and SETTINGS[name].old}
    old = {name for name in have if name in NEW_NAMES}
    if not new or not old:
        return
    if len(old) > len(new):
        wrong = {name: SETTINGS[name].old[0] for name in new}
    else:
        wrong = {name: NEW_NAMES[name] for name in old}
    wrong = {name: right for name, right in wrong.items() if right not in have}
    if wrong:
        renames = "".join(f"\n  {name:<36} -> {wrong[name]}" for name in sorted(wrong))
        place = f"{where}: " if where else ""
        raise ImproperlyConfigured(
            f"{place}old and new setting names are mixed; rename these:{renames}"
        )


def named_in_environment() -> tuple[str | None, bool, Origin]:
    """Return what TASKCTL_CONFIG_MODULE or CELERY_CONFIG_MODULE names: name, silent, origin."""
    for variable in ("TASKCTL_CONFIG_MODULE", "CELERY_CONFIG_MODULE"):
        if module := os.environ.get(variable):
            return module, False, Origin("env", variable)
    return None, True, DEFAULT


def load_holder(name: str, silent: bool, origin: Origin) -> Any:
    """Return the object that a name stands for, or None if it is missing and may be."""
    try:
        return import_object(name)
    except (ImportError, AttributeError) as exc:
        if silent:
            return None
        if not is_missing(exc, name):
            exc.add_note(reading_note(name, origin.where))
            raise
        raise ConfigSourceNotFound(
            f"{origin.where}: no settings at {name!r}: {exc} "
            "(name a module, or an object in it as module:attribute)"
        ) from exc
    except Exception as exc:
        exc.add_note(reading_note(name, origin.where))
        raise


class Source:
    """The settings that one object holds, checked and under their new names.

    `settings` are those taskctl knows, `extras` what the user keeps beside them, `suspects`
    names that may be slips, `errors` what is wrong; the caller decides what becomes of them.
    """

    def __init__(self, holder: Any, names: Names, origin: Origin) -> None:
        self.holder = holder
        self.names = names
        self.settings: dict[str, Any] = {}
        self.written: dict[str, str] = {}
        self.extras: dict[str, Any] = {}
        self.suspects: list[str] = []
        self.errors: list[ImproperlyConfigured] = []
        self._origin = origin
        self._open_minded = not isinstance(holder, Mapping)
        self._read()

    def _read(self) -> None:
        ranked: dict[str, tuple[int, str]] = {}
        all_written: list[str] = []
        keys = dir(self.holder) if self._open_minded else self.holder
        for written in keys:
            if not isinstance(written, str) or written.startswith("_"):
                continue
            rank, key = self.names.rank(written)
            if key is None:
                self._judge(written)
                continue
            all_written.append(written)
            if key not in ranked or rank < ranked[key][0]:
                ranked[key] = (rank, written)
        if not self.names.prefix:
            self._reject_mixture(all_written)
        for key, (_, written) in ranked.items():
            self._take(key, written)

    def _reject_mixture(self, written: list[str]) -> None:
        try:
            reject_mixture(written, self._place())
        except ImproperlyConfigured as exc:
            self.errors.append(exc)

    def _take(self, key: str, written: str) -> None:
        self.written[key] = written
        try:
            self.settings[key] = coerce(SETTINGS[key], self.get(written))
        except ValueError as exc:
            self.errors.append(SettingError(key, str(exc), self.origin(key).where))

    def _judge(self, written: str) -> None:
        complaint = self.names.complaint(written)
        if complaint is None:
            if not self._open_minded:
                self.extras[written] = self.holder[written]
            elif self.names.strip(written) or written.startswith(_OLD_PREFIXES):
                self.suspects.append(written)
            return
        if self._open_minded and _is_code(self.get(written)):
            return
        if self._open_minded and not complaint.endswith("?"):
            complaint += ": if it is your own, call it _" + written
        where = self._locate(written).where
        self.errors.append(SettingError(written, complaint, where))

    def get(self, written: str) -> Any:
        """Return what the object holds under exactly this name; KeyError if nothing."""
        if not self._open_minded:
            return self.holder[written]
        try:
            return getattr(self.holder, written)
        except AttributeError as exc:
            raise KeyError(written) from exc

    def origin(self, key: str) -> Origin:
        """Return file and line of a setting."""
        return self._locate(self.written.get(key, key))

    def _place(self) -> str:
        path, _ = _file_of(self.holder)
        return shorten(path) if path else self._origin.where

    def _locate(self, written: str) -> Origin:
        path, scope = _file_of(self.holder, written)
        if path is None:
            return self._origin
        return Origin(self._origin.kind, path, _lines(path, scope).get(written))


def _is_code(value: Any) -> bool:
    return callable(value) or isinstance(value, ModuleType)


def _file_of(holder: Any, written: str | None = None) -> tuple[str | None, str]:
    """Return the file, and the class in it, where an attribute of this object is assigned."""
    if isinstance(holder, ModuleType):
        return getattr(holder, "__file__", None), ""
    if isinstance(holder, Mapping):
        return None, ""
    kinds = (holder if isinstance(holder, type) else type(holder)).__mro__
    kind = next((k for k in kinds if written in vars(k)), kinds[0])
    module = sys.modules.get(kind.__module__)
    return getattr(module, "__file__", None), kind.__qualname__


@cache
def _lines(path: str, scope: str) -> dict[str, int]:
    """Return the line of the last assignment to each name in a file, or in a class in it."""
    try:
        with open(path, "rb") as file:
            body = ast.parse(file.read()).body
    except (OSError, SyntaxError, ValueError):
        return {}
    for name in filter(None, scope.replace("<locals>.", "").split(".")):
        inner = next((n for n in _statements(body) if getattr(n, "name", None) == name), None)
        body = getattr(inner, "body", [])
    lines: dict[str, int] = {}
    for node in _statements(body):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            if isinstance(target, ast.Name):
                lines[target.id] = node.lineno
    return lines


def _statements(body: list[ast.stmt]) -> Iterable[ast.stmt]:
    """Yield statements, those under if, try and with too, but not those of functions."""
    for node in body:
        yield node
        for part in ("body", "orelse", "finalbody"):
            if isinstance(node, ast.If | ast.Try | ast.With | ast.For):
                yield from _statements(getattr(node, part, []))
        for handler in getattr(node, "handlers", []):
            yield from _statements(handler.body)
