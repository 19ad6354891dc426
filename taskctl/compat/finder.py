"""Modules that are not on disk: `celery.canvas` and its like, made of taskctl's objects.

What a module holds stands in the tables of `names`; what it does not hold, and why, in
`refusals`; what Celery has at all in the generated `celery_names.json`, which is read only for a
name that nobody knows.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Sequence
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from taskctl.core.errors import UnsupportedFeature

from . import names, refusals

#: The packages that are ours while this is installed.
ROOTS = ("celery", "kombu", "billiard")

_NAMES = Path(__file__).with_name("celery_names.json")


@cache
def public_names() -> dict[str, list[str]]:
    """Return what Celery 5.7 has: module -> names, generated from Celery itself."""
    found: dict[str, list[str]] = json.loads(_NAMES.read_text())
    return found


@cache
def holdings(module: str) -> dict[str, str]:
    """Return what a module holds of ours: name -> `module:attribute`, or `module` for all of it."""
    found: dict[str, str] = {}
    for line in names.MODULES.get(module, "").splitlines():
        home, colon, words = line.strip().partition(": ")
        if not colon:
            continue
        for word in words.split():
            name, _, attribute = word.partition("=")
            found[name] = home if attribute == "." else f"{home}:{attribute or name}"
    return found


@cache
def known_modules() -> tuple[str, ...]:
    """Return all modules that can be imported, refused ones too: those raise what they are."""
    known = {*names.MODULES, *refusals.MODULES, *public_names()}
    for name in list(known):
        while "." in name:
            name = name.rpartition(".")[0]
            known.add(name)
    return tuple(sorted(known))


def is_module(name: str) -> bool:
    """Return whether a module of this name can be imported."""
    return name in names.MODULES or name in known_modules()


class CompatFinder(MetaPathFinder):
    """Finds the modules of the tables, before any that are installed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in ROOTS or not is_module(fullname):
            return None
        home = names.WHOLE.get(fullname)
        if home is not None:
            return ModuleSpec(fullname, _Alias(home), is_package=False)
        return ModuleSpec(fullname, _Facade(), is_package=_is_package(fullname))

    def invalidate_caches(self) -> None:
        """Nothing: the tables do not change."""


@cache
def _is_package(name: str) -> bool:
    return any(other.startswith(f"{name}.") for other in known_modules())


class _Alias(Loader):
    """A module of ours under another name."""

    def __init__(self, home: str) -> None:
        self.home = home

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        made = ModuleType(spec.name)
        real = importlib.import_module(self.home)
        made.__dict__.update(
            {k: v for k, v in vars(real).items() if not k.startswith("__") or k == "__all__"}
        )
        made.__doc__ = real.__doc__
        return made

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: it has run under its own name."""


class _Facade(Loader):
    """A module that looks its names up when they are asked for."""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        if name not in names.MODULES and not _is_package(name):
            raise refused(name)
        if name == "celery":
            # The classes are loaded here, where a program that uses them begins.
            importlib.import_module(".absences", __package__).attach()
        held = holdings(name)
        module.__doc__ = f"What Celery's users import from {name}, made of taskctl's objects."
        space = module.__dict__
        space["__file__"] = f"<taskctl.compat: {name}>"
        space["__all__"] = sorted(held)
        space["__getattr__"] = lambda wanted: find(module, wanted)
        space["__dir__"] = lambda: sorted({*held, *space})
        space.update(names.VALUES.get(name, {}))


def find(module: ModuleType, wanted: str) -> Any:
    """Return what a module of the tables holds under a name.

    Raises UnsupportedFeature for what Celery has there, AttributeError for what it has not.
    """
    name = module.__name__
    home = holdings(name).get(wanted)
    if home is not None:
        holder, _, attribute = home.partition(":")
        found: Any = importlib.import_module(holder)
        for part in filter(None, attribute.split(".")):
            found = getattr(found, part)
        # What is looked up anew each time, because it is another one each time.
        if wanted not in names.CHANGING.get(name, ()):
            module.__dict__[wanted] = found
        return found
    below = f"{name}.{wanted}"
    if not wanted.startswith("_") and is_module(below):
        return importlib.import_module(below)
    if below in refusals.NAMES or wanted in public_names().get(name, ()):
        raise refused(name, wanted)
    raise AttributeError(f"module {name!r} has no attribute {wanted!r}")


def refused(module: str, name: str = "") -> UnsupportedFeature:
    """Return the error for a module, or a name in it, that is not supported."""
    feature = f"{module}.{name}" if name else module
    reason, _, instead = reason_of(module, name).partition(" | ")
    return UnsupportedFeature(feature, reason or "it is a part of Celery's inside", instead)


def reason_of(module: str, name: str = "") -> str:
    """Return why a name is refused, `reason | alternative`; "" if nobody has said."""
    if name and (found := refusals.NAMES.get(f"{module}.{name}")):
        return found
    while module:
        if module in refusals.MODULES:
            return refusals.MODULES[module]
        module = module.rpartition(".")[0]
    return ""
