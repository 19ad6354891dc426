"""The options that every command takes, in front of it and behind it; the last one wins."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from .console import FORMATS

#: Heading of these options in help.
GROUP = "Global options"


class GlobalOption(click.Option):
    """An option whose value goes to the Context, not to the command."""

    group = GROUP

    def __init__(self, *names: str, **settings: Any) -> None:
        super().__init__(list(names), expose_value=False, callback=_put, **settings)

    def resolve_envvar_value(self, ctx: click.Context) -> None:
        """Nothing: the Context reads the variables, which are the same in every place."""
        return None


def _put(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    name = str(param.name)
    if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
        ctx.obj.put(name, value)
    return value


def _formats(ctx: click.Context, param: click.Parameter, begun: str) -> list[str]:
    return [name for name in FORMATS if name.startswith(begun)]


def global_parameters() -> list[click.Parameter]:
    """Return fresh global options."""
    colours = click.Choice(["auto", "always", "never"], case_sensitive=False)
    return [
        GlobalOption("-A", "--app", metavar="APP", help="the app: module, or module:attribute"),
        GlobalOption("-b", "--broker", metavar="URL", help="broker (default: embedded SQLite)"),
        GlobalOption("--result-backend", metavar="URL", help="where results are kept"),
        GlobalOption("--loader", metavar="CLASS", help="class that loads settings and modules"),
        GlobalOption("--config", metavar="MODULE", help="module with settings"),
        GlobalOption("--workdir", metavar="DIR", help="change to this folder first"),
        GlobalOption(
            "--skip-checks", is_flag=True, help="sets CELERY_SKIP_CHECKS, which Django apps read"
        ),
        GlobalOption(
            "--celery-compat", is_flag=True, help="import celery finds taskctl; Celery's defaults"
        ),
        GlobalOption("-C", "--no-color", is_flag=True, help="no colour"),
        GlobalOption("--color", type=colours, metavar="WHEN", help="auto, always or never"),
        GlobalOption("-q", "--quiet", is_flag=True, help="no banner, notes and summaries"),
        GlobalOption("-v", "--verbose", count=True, help="tracebacks; -vv: debug lines"),
        GlobalOption(
            "-o", "--output", metavar="FORMAT", shell_complete=_formats,
            help="table, wide, plain, name, json, jsonl or celery",
        ),
        GlobalOption("-j", "--json", is_flag=True, help="JSON, as Celery shapes it"),
        GlobalOption("-y", "--yes", is_flag=True, help="answer every question with yes"),
    ]  # fmt: skip


def equip(command: click.Command, *path: str) -> click.Command:
    """Give a command and its sub-commands the global options and their variables; once.

    `TASKCTL_<COMMAND>_<OPTION>`, else the same with CELERY_, stands in for an option.
    A spelling that the command has itself stays the command's.
    """
    if getattr(command, "_equipped", False):
        return command
    command._equipped = True  # type: ignore[attr-defined]
    prefix = "_".join(path).upper().replace("-", "_")
    own = {
        spelling for param in command.params for spelling in (*param.opts, *param.secondary_opts)
    }
    for param in command.params:
        if isinstance(param, click.Option) and param.envvar is None and param.name:
            names = [f"{prefix}_{word}" for word in _words(param)]
            param.envvar = [f"{whose}_{name}" for whose in ("TASKCTL", "CELERY") for name in names]
    command.context_settings.setdefault("help_option_names", ["-h", "--help"])
    if not getattr(command, "takes_raw_words", False):
        for option in global_parameters():
            option.opts = [word for word in option.opts if word not in own]
            if option.opts:
                command.params.append(option)
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            equip(below, *path, name)
    elif command.callback is not None:
        command.callback = _entering(command.callback)
    return command


def _words(option: click.Option) -> list[str]:
    """Return what an option is called in variables: as it is typed, then as it is kept."""
    typed = next((word for word in option.opts if word.startswith("--")), option.opts[0])
    kept = str(option.name)
    words = (typed.lstrip("-").replace("-", "_").upper(), kept.upper())
    return list(dict.fromkeys(words))


def _entering(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Return a callback that runs in the working directory that was asked for."""

    @functools.wraps(callback)
    def run(*args: Any, **kwargs: Any) -> Any:
        click.get_current_context().obj.enter()
        return callback(*args, **kwargs)

    return run
