"""Read the house: which module imports which, from the source text alone."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def module_name(path: Path) -> str:
    """Return the importable name of a source file of ours."""
    relative = path.relative_to(ROOT).with_suffix("")
    parts = list(relative.parts)
    if parts[0] == "core":
        parts = ["taskctl", "core", *parts[1:]]
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


@cache
def sources() -> dict[str, Path]:
    """Return all modules of the library and the command line, by name."""
    files = [*ROOT.joinpath("core").rglob("*.py"), *ROOT.joinpath("taskctl").rglob("*.py")]
    return {module_name(path): path for path in sorted(files)}


@cache
def imports(name: str, path: Path) -> set[str]:
    """Return the modules of ours that a module imports, also late and for types alone."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    known = sources()
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                found.add(whole if whole in known else base)
    return {one for one in found if one in known}


def room(name: str) -> str:
    """Return the room a module belongs to."""
    parts = name.split(".")
    if parts[:2] == ["taskctl", "compat"]:
        return "compat"
    if parts[:2] == ["taskctl", "testing"]:
        return "testing"
    if parts[:2] != ["taskctl", "core"]:
        return "cli"
    if len(parts) == 2:
        return "face"
    if parts[2] in ROOMS:
        return parts[2]
    return "app" if parts[2] in APP else "ground"


#: Floor of each room; imports point down.  See the design in docs/architecture.md.
FLOORS = {
    "ground": 0,
    "wire": 1,
    "brokers": 2,
    "messaging": 3,
    "backends": 4,
    "limiters": 4,
    "remote": 4,
    "tasks": 5,
    "pool": 6,
    "app": 6,
    "face": 6.5,
    "beat": 7,
    "worker": 7,
    "compat": 8,
    "testing": 8,
    "cli": 9,
}
#: The face a user holds, in its files.
APP = {"app", "assembly", "django", "kin", "limiter_place", "reach", "result_place", "security"}
_NO_FOLDERS = ("ground", "app", "face", "compat", "testing", "cli")
ROOMS = {room for room in FLOORS if room not in _NO_FOLDERS}
#: What a room may import besides itself and the ground.
ALLOWED = {
    "ground": set(),
    "wire": set(),
    "brokers": {"wire"},
    "messaging": {"brokers", "wire"},
    "remote": {"messaging", "wire", "brokers"},
    "backends": {"wire"},
    "limiters": {"wire", "brokers"},
    "tasks": {"backends", "limiters", "messaging", "wire"},
    "app": {"tasks", "backends", "limiters", "remote", "messaging", "wire"},
    "pool": {"tasks", "wire"},
    "face": {"app", "tasks", "wire", "remote"},
    "beat": {"app", "messaging", "wire", "tasks"},
    "worker": {
        "beat",
        "pool",
        "app",
        "messaging",
        "remote",
        "wire",
        "tasks",
        "backends",
        "limiters",
    },
    # Celery's names for what is ours, in whichever room it lives.
    "compat": {"face", "app", "tasks", "beat", "worker", "remote", "messaging", "backends", "wire"},
    # Fixtures for users: a whole app with its worker, its broker in memory opened up.
    "testing": {
        "face",
        "app",
        "tasks",
        "beat",
        "pool",
        "worker",
        "messaging",
        "brokers",
        "backends",
        "wire",
    },
    "cli": {"compat", "face", "app", "beat", "worker", "remote", "ground"},
}
#: What a single module may import besides: results that travel go through the app's broker.
ALLOWED_ALONE = {"taskctl.core.backends.rpc": {"messaging"}}
