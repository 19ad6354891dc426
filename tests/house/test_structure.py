"""The house stands: imports point down, stay light, and everything is listed once."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest

from taskctl.core.config import Settings
from taskctl.core.remote.control import Control, Inspect
from taskctl.core.remote.vocabulary import COMMANDS, INSPECT
from taskctl.core.settings_table import SETTINGS
from taskctl.core.worker.commands import Commands

from .structure import ALLOWED, ALLOWED_ALONE, FLOORS, ROOT, imports, room, sources

MODULES = sources()
HEAVY = ("rich", "click", "redis", "pika", "psutil", "taskctl.core.worker", "taskctl.core.pool")


def test_imports_point_down() -> None:
    wrong = [
        f"{name} ({room(name)}) imports {other} ({room(other)})"
        for name, path in MODULES.items()
        for other in imports(name, path)
        if FLOORS[room(other)] > FLOORS[room(name)]
    ]

    assert wrong == []


def test_rooms_import_only_what_they_may() -> None:
    wrong = [
        f"{name} imports {other}"
        for name, path in MODULES.items()
        for other in imports(name, path)
        if room(other)
        not in {room(name), "ground", *ALLOWED[room(name)], *ALLOWED_ALONE.get(name, ())}
    ]

    assert wrong == []


def test_no_two_modules_want_each_other() -> None:
    wants = {name: imports(name, path) - {name} for name, path in MODULES.items()}
    circles = [
        f"{name} <-> {other}"
        for name, others in wants.items()
        for other in others
        if name in wants[other]
        and name < other
        and not other.startswith(f"{name}.")
        # One side that wants the other for its types alone is found by the type checker's guard.
        and "TYPE_CHECKING" not in MODULES[name].read_text() + MODULES[other].read_text()
    ]

    assert circles == []


@pytest.mark.parametrize("module", ["taskctl", "taskctl.core"])
def test_importing_the_face_stays_light(module: str) -> None:
    script = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"

    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert loaded.stdout.strip() == "[]"


def test_packages_listed_are_the_folders_present() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    present = {name for name, path in MODULES.items() if path.name == "__init__.py"}

    assert sorted(listed) == sorted(present)


def test_every_remote_command_has_a_handler_and_a_client_method() -> None:
    for name, command in COMMANDS.items():
        client = Inspect if command.kind == INSPECT else Control
        assert callable(getattr(Commands, name, None)), f"no handler for {name}"
        assert callable(getattr(client, name, None)), f"no client method for {name}"
        assert command.help


def test_every_setting_has_a_type_a_default_and_help() -> None:
    conf = Settings()
    for setting in SETTINGS.values():
        assert setting.help.strip(), setting.name
        assert setting.type, setting.name
        conf[setting.name]  # its default can be read


def test_a_setting_that_nothing_reads_says_so() -> None:
    skipped = ("settings_table", "settings_checks", "settings_risks", "settings_readers")
    texts = [p.read_text() for p in MODULES.values() if not p.stem.startswith(skipped)]
    words = set(re.findall(r"[a-z_]+", "\n".join(texts)))
    honoured = {name for name, setting in SETTINGS.items() if setting.supported}

    # Only version 2 can be chosen; the type check is all there is to do.
    assert honoured - words == {"task_protocol"}


def test_no_file_is_longer_than_it_can_be_read() -> None:
    longest = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in MODULES.values()
        if "settings_table" not in path.name
    }

    assert {name: lines for name, lines in longest.items() if lines > 500} == {}
