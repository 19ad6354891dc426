"""`taskctl init`: write a project that runs; nothing is ever overwritten."""

from __future__ import annotations

import importlib.util
import keyword
import os
import re
import sys
from pathlib import Path

import click

from taskctl.command import Command, Option
from taskctl.context import Context
from taskctl.failures import CANT_CREATE, OK, CommandError, usage
from taskctl.project import project_files


@click.pass_obj
def _init(context: Context, folder: str, name: str | None, dry_run: bool) -> int:
    console = context.console(formats=("table", "wide", "plain", "name", "json", "jsonl"))
    place = Path(folder)
    package = _checked(name) if name else _package_of(place)
    files = {place / path: text for path, text in project_files(package).items()}
    _refuse_to_overwrite(list(files))
    if not dry_run:
        for path, text in files.items():
            _write(path, text)
    items = [{"path": str(path)} for path in files]
    if console.format == "json":
        console.document("init", ok=True, items=items, app=package)
    elif console.format == "jsonl":
        for item in items:
            console.json(item)
    else:
        for item in items:
            console.line(item["path"])
    if dry_run:
        console.summary("nothing was written")
    else:
        enter = "" if place == Path(".") else f"cd {folder} && "
        console.summary(f"next: {enter}taskctl worker -l INFO")
    return OK


def _package_of(place: Path) -> str:
    """Return the name of the package: that of the folder, as an identifier."""
    name = re.sub(r"\W+", "_", place.resolve().name.lower()).strip("_")
    return _checked(name)


def _checked(name: str) -> str:
    cure = "give it another name: --name proj"
    if not name.isidentifier() or keyword.iskeyword(name):
        raise usage(f"{name!r} cannot be the name of a package", cure)
    if name in sys.stdlib_module_names or _is_installed(name):
        raise usage(f"{name!r} is the name of a module that is there already", cure)
    return name


def _is_installed(name: str) -> bool:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        return False
    return any(part in found.origin for part in ("site-packages", "dist-packages")) or (
        name == __package__.partition(".")[0]
    )


def _refuse_to_overwrite(paths: list[Path]) -> None:
    there = [path for path in paths if os.path.lexists(path)]
    if there:
        raise CommandError(
            f"already there: {', '.join(map(str, there))}; nothing was written",
            "choose another folder: taskctl init DIR, or another package: --name NAME",
            exit_code=CANT_CREATE,
            code="file",
        )


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as exc:
        raise CommandError(
            f"cannot write {path}: {(exc.strerror or str(exc)).lower()}",
            "choose another folder: taskctl init DIR",
            exit_code=CANT_CREATE,
            code="file",
        ) from exc


command = Command(
    "init",
    callback=_init,
    params=[
        click.Argument(["folder"], metavar="[DIR]", default="."),
        Option(["--name"], metavar="NAME", help="name of the package (default: the folder's)"),
        Option(["--dry-run"], is_flag=True, help="name the files, write nothing"),
    ],
    help="Write a project that runs: an app, tasks, settings, a README.",
    examples=("taskctl init shop", "taskctl init . --name shop --dry-run"),
)
