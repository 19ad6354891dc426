"""Settings of a file, read for comparison: .py, .toml, .env or JSON, each value with its place.

A .py file is run, as an app would. Nothing of the environment is mixed in.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

from .config import Origin, Settings
from .errors import ImproperlyConfigured
from .settings_source import Names
from .settings_table import NEW_NAMES, SETTINGS

Values = dict[str, tuple[Any, Origin]]

_LINE = re.compile(r"\s*(?:export\s+)?(?P<key>[A-Za-z_]\w*)\s*=\s*(?P<value>.*?)\s*$")


@functools.cache
def defaults(*, celery: bool = False) -> Values:
    """Return the default of every setting; with `celery` the one that Celery 5.7 has."""
    origin = Origin("default")
    return {
        name: (row.celery_default() if celery else row.default, origin)
        for name, row in SETTINGS.items()
        if not (celery and row.own)
    }


def read_settings_file(path: str) -> Values:
    """Return what a file sets, under today's names.

    Raises ImproperlyConfigured for one that cannot be understood, OSError for one that cannot be
    read.
    """
    conf = Settings()
    # Else the environment would say where settings are.
    conf.use_object({})
    match Path(path).suffix or Path(path).name:
        case ".toml":
            conf.use_project_file(_read_toml(path), path)
        case ".json":
            conf.use_object(_read_json(path))
        case ".py":
            conf.use_object(_run(path))
        case _:
            return _read_environment(path)
    found: Values = {}
    for key in conf.without_defaults():
        places = [place for place in conf.places(key) if place[1].kind != "env"]
        if places:
            value, origin = places[0]
            found[key] = (value, origin if origin.kind != "object" else origin._replace(path=path))
    return found


def _read_toml(path: str) -> dict[str, Any]:
    try:
        whole = tomllib.loads(Path(path).read_text("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ImproperlyConfigured(f"{path}: {exc}") from exc
    tool = whole.get("tool")
    return dict(tool.get("taskctl", {})) if isinstance(tool, dict) else whole


def _read_json(path: str) -> dict[str, Any]:
    """Return an object of settings; also one of a node alone, as `inspect conf -j` prints it."""
    try:
        found = json.loads(Path(path).read_text("utf-8"))
    except ValueError as exc:
        raise ImproperlyConfigured(f"{path}: {exc}") from exc
    if isinstance(found, dict) and len(found) == 1 and "@" in next(iter(found)):
        found = next(iter(found.values()))
    if not isinstance(found, dict):
        raise ImproperlyConfigured(f"{path}: an object of settings expected")
    return found


def _run(path: str) -> ModuleType:
    where = os.path.abspath(path)
    with open(where, "rb"):
        pass  # said better here than by the import
    spec = importlib.util.spec_from_file_location(f"_settings_of_{Path(path).stem}", where)
    if spec is None or spec.loader is None:
        raise ImproperlyConfigured(f"{path}: Python cannot run it")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as exc:
        raise ImproperlyConfigured(f"{path}: {type(exc).__name__}: {exc}") from exc
    return module


def _read_environment(path: str) -> Values:
    found: Values = {}
    for number, line in enumerate(Path(path).read_text("utf-8").splitlines(), 1):
        parts = _LINE.fullmatch(line)
        if parts is None or line.lstrip().startswith("#"):
            continue
        key = _named(parts["key"])
        if key is not None:
            conf = Settings()
            conf.use_object({})
            origin = Origin("file", path, number)
            conf.override({key: _unquoted(parts["value"])}, origin)
            found[key] = (conf.places(key)[0][0], origin)
    return found


def _named(variable: str) -> str | None:
    """Return the setting a variable stands for: `TASKCTL_BROKER_URL`, `CELERY_ACKS_LATE`, ..."""
    for prefix in ("TASKCTL_", "CELERY_"):
        key = variable.removeprefix(prefix).lower()
        if variable.startswith(prefix) and key in SETTINGS:
            return key
    return NEW_NAMES.get(variable) or Names().new_name(variable.lower())


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return re.sub(r"\s+#.*$", "", value)


def plain(value: Any) -> Any:
    """Return a value as JSON has it, so that it can be compared with what a node says."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}:{value.__qualname__}"
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return repr(value)
