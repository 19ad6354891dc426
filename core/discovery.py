"""Find task modules by convention: `tasks.py` in each of several packages."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from types import ModuleType


def discover(packages: Iterable[str], related_name: str | None) -> list[ModuleType]:
    """Import `package.related_name` of each package; return the modules that exist.

    Without a related name the packages themselves are imported.  A package without such a module
    is passed over; what a module raises when it is imported is raised.
    """
    found = (_related(package, related_name) for package in packages)
    return [module for module in found if module is not None]


def _related(package: str, related_name: str | None) -> ModuleType | None:
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError as exc:
        # The dotted path of a class, as in Django's INSTALLED_APPS: look beside it.
        parent = package.rpartition(".")[0]
        if exc.name != package or not parent:
            raise
        package, module = parent, importlib.import_module(parent)
    if not related_name:
        return module
    wanted = f"{package}.{related_name}"
    try:
        return importlib.import_module(wanted)
    except ModuleNotFoundError as exc:
        if exc.name == wanted:
            return None
        raise
