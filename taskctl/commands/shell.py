"""`taskctl shell`: a Python shell in which the app and its tasks have names."""

from __future__ import annotations

import code
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import click

import taskctl
from taskctl.apps import user_app
from taskctl.command import Command, Option
from taskctl.context import Context
from taskctl.core.app import App
from taskctl.core.version import __version__
from taskctl.failures import OK, CommandError, usage

SHELLS = "Shell options"
#: Names in scope besides the app and its tasks, as in Celery's shell.
_WORDS = (
    "Task", "chord", "group", "chain", "chunks", "xmap", "xstarmap", "subtask", "signature",
)  # fmt: skip

Names = dict[str, Any]


@click.pass_obj
def _shell(
    context: Context,
    /,
    ipython: bool,
    bpython: bool,
    ptpython: bool,
    python: bool,
    without_tasks: bool,
    eventlet: bool,
    gevent: bool,
    command: str | None,
) -> int:
    if eventlet or gevent:
        word = "--eventlet" if eventlet else "--gevent"
        raise usage(f"{word}: taskctl has no green threads", "leave it out: the shell needs none")
    wanted = {"IPython": ipython, "bpython": bpython, "ptpython": ptpython, "python": python}
    chosen = [name for name, flag in wanted.items() if flag]
    if len(chosen) > 1:
        raise usage(f"{' and '.join(chosen)} are two shells: choose one")
    if chosen and chosen[0] != "python" and importlib.util.find_spec(chosen[0]) is None:
        raise usage(f"{chosen[0]} is not installed", f"pip install {chosen[0].lower()}")
    app = user_app(context)
    app.import_default_modules()
    names = _names(app, without_tasks, context)
    if command is not None:
        return _run(command, "<-c>", names)
    if not sys.stdin.isatty():
        return _run(sys.stdin.read(), "<stdin>", names)
    kind = chosen[0] if chosen else _best()
    if not context.quiet:
        tasks = [name for name in names if name not in (*_WORDS, "app", "celery")]
        told = ", ".join(tasks) if tasks else "none by name"
        print(f"taskctl {__version__} · {kind} · app: {app.main} · tasks: {told}", file=sys.stderr)
    _OPEN[kind](names)
    return OK


def _names(app: App, without_tasks: bool, context: Context) -> Names:
    """Return what is in scope; the names of the library win over those of tasks."""
    names: Names = {"app": app, "celery": app}
    names |= {word: getattr(taskctl, word) for word in _WORDS if hasattr(taskctl, word)}
    if without_tasks:
        return names
    for name in sorted(app.tasks):
        short = name.rpartition(".")[2]
        short = getattr(app.tasks[name], "__name__", short)
        if name.startswith("celery."):
            continue
        if short in names:
            context.note(f"{name} has no short name, {short!r} is taken: app.tasks[{name!r}]")
        else:
            names[short] = app.tasks[name]
    return names


def _run(text: str, place: str, names: Names) -> int:
    """Run a whole text as a program would."""
    names["__name__"] = "__main__"
    try:
        exec(compile(text, place, "exec"), names)
    except Exception as exc:
        said = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
        raise CommandError(said, "see the traceback with -v", code="python") from exc
    return OK


def _best() -> str:
    found = (name for name in ("IPython", "bpython", "ptpython") if importlib.util.find_spec(name))
    return next(found, "python")


# -- the shells, none of which this package needs; each is imported when it is opened


def _open_ipython(names: Names) -> None:
    importlib.import_module("IPython").start_ipython(argv=[], user_ns=names)


def _open_bpython(names: Names) -> None:
    importlib.import_module("bpython").embed(locals_=names)


def _open_ptpython(names: Names) -> None:
    importlib.import_module("ptpython.repl").embed(names, names)


def _open_python(names: Names) -> None:
    """Python's own, with completion where there is readline."""
    try:
        readline = importlib.import_module("readline")
        completer = importlib.import_module("rlcompleter").Completer(names)
    except ImportError:  # a Python built without it
        pass
    else:
        readline.set_completer(completer.complete)
        readline.parse_and_bind("tab: complete")
    code.interact(banner="", local=names, exitmsg="")


_OPEN: dict[str, Callable[[Names], None]] = {
    "IPython": _open_ipython,
    "bpython": _open_bpython,
    "ptpython": _open_ptpython,
    "python": _open_python,
}


def _flag(names: list[str], help: str) -> Option:
    return Option(names, is_flag=True, group=SHELLS, help=help)


command = Command(
    "shell",
    callback=_shell,
    params=[
        _flag(["-I", "--ipython"], "use IPython"),
        _flag(["-B", "--bpython"], "use bpython"),
        _flag(["-P", "--ptpython"], "use ptpython"),
        _flag(["--python", "--simple", "python"], "use Python's own shell"),
        _flag(["-T", "--without-tasks"], "give tasks no names of their own"),
        _flag(["--eventlet"], "refused: there are no green threads"),
        _flag(["--gevent"], "refused: there are no green threads"),
        Option(["-c", "--command"], metavar="CODE", group=SHELLS, help="run this and exit"),
    ],
    help="Open a Python shell in which the app and its tasks have names.",
    examples=("taskctl -A proj shell", "taskctl -A proj shell -c 'print(add.delay(2, 3).get())'"),
)
