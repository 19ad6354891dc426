"""`taskctl completion`: the script that lets a shell complete our command lines."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import click

from taskctl.command import Command, Option
from taskctl.context import Context
from taskctl.failures import CANT_CREATE, OK, CommandError
from taskctl.shells import MARK, NEXT, SCRIPTS, place


@click.pass_obj
def _completion(context: Context, shell: str, install: bool) -> int:
    console = context.console(piped="plain", formats=("table", "plain", "json"))
    path = place(shell)
    if install:
        _install(path, SCRIPTS[shell])
    if console.format == "json":
        item = {"shell": shell, "path": str(path), "script": SCRIPTS[shell]}
        console.document("completion", ok=True, items=[{**item, "installed": install}])
    elif install:
        console.line(f"installed {path}")
        console.note(NEXT[shell].format(folder=path.parent))
    else:
        console.line(SCRIPTS[shell].rstrip())
    return OK


def _install(path: Path, script: str) -> None:
    """Write the script where the shell looks for it, all or nothing."""
    try:
        if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
            raise CommandError(
                f"{path} is not ours: it was not made by taskctl completion",
                "move it away, or print the script without --install and place it yourself",
                exit_code=CANT_CREATE,
                code="file",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, script)
    except OSError as exc:
        raise CommandError(
            f"cannot write {path}: {(exc.strerror or str(exc)).lower()}",
            "print the script without --install and place it yourself",
            exit_code=CANT_CREATE,
            code="file",
        ) from exc


def _write(path: Path, script: str) -> None:
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(script)
        os.chmod(aside, 0o644)
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)
        raise


command = Command(
    "completion",
    callback=_completion,
    params=[
        click.Argument(["shell"], type=click.Choice(list(SCRIPTS)), metavar="bash|zsh|fish"),
        Option(["--install"], is_flag=True, help="write it where your shell looks, and say where"),
    ],
    help="Print the completion script of a shell, or install it.",
    examples=("source <(taskctl completion bash)", "taskctl completion fish --install"),
)
