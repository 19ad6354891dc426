"""`taskctl multi`: many nodes on this host, started, stopped, restarted and looked at.

Parses, asks taskctl.multi, and hands plain facts to the view. Loads no broker, and the app only
where a line has an option that could be the app's own.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable, Mapping, Sequence

import click
from click.shell_completion import CompletionItem

from taskctl.complaints import complain
from taskctl.completions import multi_words
from taskctl.context import Context
from taskctl.core.errors import PidfileError
from taskctl.failures import FAILED, INTERRUPTED, OK, CommandError, usage
from taskctl.multi.grammar import Line, UsageError, parse
from taskctl.multi.records import RecordError
from taskctl.views.multi import draw_lines

from .multi_change import kill_nodes, restart_nodes, start_nodes, stop_nodes
from .multi_help import help_lines
from .multi_look import (
    forget,
    show_expanded,
    show_lines,
    show_log_lines,
    show_names,
    show_one,
    show_status,
)
from .multi_output import take_options
from .worker_options import Option

_COMMANDS: Mapping[str, Callable[[Line, Context], int]] = {
    "start": start_nodes,
    "stop": stop_nodes,
    "stopwait": stop_nodes,
    "restart": restart_nodes,
    "kill": kill_nodes,
    "status": show_status,
    "show": show_lines,
    "names": show_names,
    "expand": show_expanded,
    "get": show_one,
    "logs": show_log_lines,
    "forget": forget,
}
#: Formats of a text.
_TEXTS = ("table", "plain", "celery", "json")


def run(
    argv: Sequence[str], *, global_args: Sequence[str] = (), context: Context | None = None
) -> int:
    """Do what a `multi` command line says; return the exit code.

    `argv` is what followed the word `multi`, `global_args` the options in front of it.
    """
    context = context or Context()
    try:
        return _run(argv, global_args, context)
    except UsageError as exc:
        return complain(usage(str(exc), exc.hint))
    except RecordError as exc:
        return complain(CommandError(str(exc), code="record"))
    except PidfileError as exc:
        return complain(CommandError(str(exc), exit_code=FAILED, code="file"))
    except CommandError as exc:
        return complain(exc)
    except KeyboardInterrupt:
        return complain(_interrupted())


def _run(argv: Sequence[str], global_args: Sequence[str], context: Context) -> int:
    line = parse(argv, global_args, app_options=functools.partial(_options_of_app, context=context))
    take_options(line, context)
    if line.command == "help" or "--help" in line.own:
        return _help(context, asked=line.command == "help")
    try:
        return _COMMANDS[line.command](line, context)
    except KeyboardInterrupt:
        if line.command in ("status", "logs"):
            return INTERRUPTED  # the way they are meant to end
        raise


def _help(context: Context, *, asked: bool) -> int:
    console = context.console(piped="celery", formats=_TEXTS) if asked else None
    if console is not None and console.format == "json":
        item = {"command": "multi", "text": "\n".join(help_lines())}
        console.document("help", ok=True, items=[item])
    else:
        draw_lines(help_lines())
    return OK


def _interrupted() -> CommandError:
    return CommandError(
        "interrupted; what was started or told to stop goes on",
        "see: taskctl multi status",
        exit_code=128 + signal.SIGINT,
        code="interrupted",
    )


def _options_of_app(words: Sequence[str], *, context: Context) -> Sequence[Option]:
    # It imports the app, which multi otherwise never does.
    from .multi_app_options import options_of_app

    return options_of_app(words, context)


class _Multi(click.Command):
    """Hands its words on as they are: the grammar of multi is not click's."""

    takes_raw_words = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.params["argv"] = list(args)
        _stay_here(ctx.obj)
        return []

    def get_help(self, ctx: click.Context) -> str:
        return "\n".join(help_lines())

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        return multi_words(ctx.params["argv"], incomplete)


def _stay_here(context: object) -> None:
    """Leave going to the working folder to the nodes: gone to twice, a relative one is not there.

    The variables are made absolute, for the nodes read them too.
    """
    if isinstance(context, Context):
        context.options.pop("workdir", None)
    for variable in ("TASKCTL_WORKDIR", "CELERY_WORKDIR"):
        if value := os.environ.get(variable):
            os.environ[variable] = os.path.abspath(os.path.expanduser(value))


@click.pass_context
def _run_command(context: click.Context, argv: list[str]) -> None:
    context.exit(
        run(
            argv,
            global_args=getattr(context.obj, "global_args", ()),
            context=context.obj if isinstance(context.obj, Context) else None,
        )
    )


command = _Multi(
    "multi",
    callback=_run_command,
    help="Start, stop and restart several nodes on this host.",
    add_help_option=False,
)
