"""Options that a user's app adds to commands: `app.user_options`, as in Celery.

    app.user_options["worker"].add(click.Option(["--watch"], is_flag=True))
    app.user_options["preload"].add(click.Option(["--theme"], default="dark"))

Those of a command's name go to that command, those of "preload" to every command, whose values
`user_preload_options` tells.  The app is imported for them only when the command line holds an
option that is not ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from taskctl.core.app import App
from taskctl.core.errors import TaskctlError
from taskctl.core.signals import user_preload_options

from .apps import user_app
from .context import Context
from .failures import usage

PRELOAD = "preload"
#: Whether the signal was sent, in `ctx.meta`.
_TOLD = "taskctl.preload"
#: Global options that lead to the app.
_LEADING = ("app", "loader", "config", "workdir")


def looked_up(command: click.Command, ctx: click.Context, args: list[str]) -> list[click.Option]:
    """Return what the app that a command line leads to adds to `command`."""
    parser = command.make_parser(ctx)
    parser.ignore_unknown_options = True
    found, _, _ = parser.parse_args(list(args))
    context: Context = ctx.obj
    for name in _LEADING:
        if isinstance(value := found.get(name), str):
            context.put(name, value)
    context.enter()
    if context.app_spec is None:
        return []
    try:
        app = user_app(context)
    except TaskctlError:
        if command.name == "worker":
            raise
        return []  # what is wrong with the line comes first
    return [*options_of(app, PRELOAD), *options_of(app, str(command.name))]


def options_of(app: App, key: str) -> list[click.Option]:
    """Return the options that an app adds under a key, by name.

    Raises CommandError for what is no option of click's.
    """
    added: Iterable[Any] = app.user_options.get(key) or ()
    for option in added:
        if not isinstance(option, click.Option):
            raise usage(f'app.user_options["{key}"] holds {option!r}: a click.Option expected')
    return sorted(added, key=lambda option: str(option.name))


def values_of(
    app: App, key: str, given: Mapping[str, Any], ctx: click.Context | None = None
) -> dict[str, Any]:
    """Return the values of the options under a key: given, or their defaults."""
    ctx = ctx or click.get_current_context()
    return {
        str(option.name): given[str(option.name)]
        if option.name in given
        else option.get_default(ctx)
        for option in options_of(app, key)
    }


def parsed(ctx: click.Context) -> None:
    """Tell the app of the values that were given for its options."""
    tell_preload(user_app(ctx.obj), ctx)


def tell_preload(app: App, ctx: click.Context | None = None) -> None:
    """Send `user_preload_options`, once, with what was given, if the app adds such options.

    What was given is taken from the parameters of the command, for none of ours takes it.
    """
    ctx = ctx or click.get_current_context()
    if ctx.meta.get(_TOLD):
        return
    ctx.meta[_TOLD] = True
    values = values_of(app, PRELOAD, ctx.params, ctx)
    for name in values:
        ctx.params.pop(name, None)
    if values:
        user_preload_options.send(sender=ctx.command.callback, app=app, options=values)
