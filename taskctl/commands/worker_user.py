"""Options that a user's app adds to `worker`: `app.user_options["worker"]`, as in Celery.

    app.user_options["worker"].add(click.Option(["--watch"], is_flag=True))

The app is imported for them only when the command line holds an option that is not ours. Their
values go to the app's steps (`app.steps["worker"]`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from taskctl.apps import user_app
from taskctl.command import Command
from taskctl.context import Context
from taskctl.core.app import App
from taskctl.failures import usage

#: Global options that lead to the app.
_LEADING = ("app", "loader", "config", "workdir")


class WorkerCommand(Command):
    """A command that takes the options of the user's app too."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; what is unknown at first may be known to the app."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption:
            added = self._options_of_app(ctx, given)
            if not added:
                raise
        self.params += [option for option in added if option not in self.params]
        return super().parse_args(ctx, given)

    def _options_of_app(self, ctx: click.Context, args: list[str]) -> list[click.Option]:
        parser = self.make_parser(ctx)
        parser.ignore_unknown_options = True
        found, _, _ = parser.parse_args(list(args))
        context: Context = ctx.obj
        for name in _LEADING:
            if isinstance(value := found.get(name), str):
                context.put(name, value)
        context.enter()
        return [] if context.app_spec is None else user_options(user_app(context))


def user_options(app: App) -> list[click.Option]:
    """Return the options an app adds to `worker`, by name.

    Raises CommandError for what is no option of click's.
    """
    added = app.user_options.get("worker") or ()
    for option in added:
        if not isinstance(option, click.Option):
            raise usage(f'app.user_options["worker"] holds {option!r}: a click.Option expected')
    return sorted(added, key=lambda option: str(option.name))


def user_values(app: App, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the options that the app adds: given, or their defaults."""
    ctx = click.get_current_context()
    return {
        str(option.name): given[str(option.name)]
        if option.name in given
        else option.get_default(ctx)
        for option in user_options(app)
    }
