"""Write the list of what Celery 5.7 has: every public name of every module, from its source text.

    python -m tests.interop.celery_names            writes taskctl/compat/celery_names.json
    python -m tests.interop.celery_names --check    exit code 1 if the file is not that

A name is public if it is bound at the head of a module, by an assignment, a class, a function, or
`__all__`, and begins with no underscore.  Loggers and their methods are left out.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "taskctl" / "compat" / "celery_names.json"

#: Names that modules bind for their own logging.
_LOGGING = frozenset("logger LOGGER debug info warn warning error exception crit critical".split())


def celery_names() -> dict[str, list[str]]:
    """Return every module of the installed Celery, and its public names."""
    found = importlib.util.find_spec("celery")
    assert found is not None and found.submodule_search_locations is not None
    folder = Path(next(iter(found.submodule_search_locations)))
    return {name: sorted(names_in(path)) for name, path in sorted(_modules("celery", folder))}


def _modules(package: str, folder: Path) -> Iterator[tuple[str, Path]]:
    yield package, folder / "__init__.py"
    for one in pkgutil.iter_modules([str(folder)]):
        name = f"{package}.{one.name}"
        if one.ispkg:
            yield from _modules(name, folder / one.name)
        else:
            yield name, folder / f"{one.name}.py"


def names_in(path: Path) -> set[str]:
    """Return the public names that a module binds at its head."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [
                one.id
                for target in targets
                for one in ast.walk(target)
                if isinstance(one, ast.Name)
            ]
            if "__all__" in names and isinstance(node.value, ast.Tuple | ast.List):
                found.update(
                    str(one.value) for one in node.value.elts if isinstance(one, ast.Constant)
                )
            found.update(names)
    return {name for name in found if not name.startswith("_") and name not in _LOGGING}


def text() -> str:
    """Return what the file must hold."""
    return json.dumps(celery_names(), indent=0, sort_keys=True) + "\n"


def main(words: list[str]) -> int:
    version = importlib.metadata.version("celery")
    if words == ["--check"]:
        return int(FILE.read_text() != text())
    FILE.write_text(text())
    names = celery_names()
    print(f"Celery {version}: {len(names)} modules, {sum(map(len, names.values()))} names")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
