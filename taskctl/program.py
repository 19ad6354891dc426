"""One call of the program: the group of commands, the global options, the errors.

A command is a module of `taskctl.commands` with a click command named `command`; it is imported
when it is called. Entry points of the group `taskctl.commands` add commands; one that bears the
name of ours is left out.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from .command import write_examples
from .context import Context
from .core.version import __version__
from .failures import INTERRUPTED, CommandError, usage
from .global_options import equip, global_parameters

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from click.shell_completion import CompletionItem

#: Name of each command: its module in taskctl.commands, and one line of help.
COMMANDS: dict[str, tuple[str, str]] = {
    "worker": ("worker", "Run a node in the foreground"),
    "multi": ("multi", "Start, stop and restart several nodes on this host"),
    "beat": ("beat", "Send tasks on schedule"),
    "status": ("status", "Show how each node is"),
    "top": ("top", "Watch nodes and tasks live"),
    "inspect": ("inspect", "Ask running nodes what they do"),
    "control": ("control", "Tell running nodes what to do"),
    "events": ("events", "Show what nodes and tasks do, as it happens"),
    "queue": ("queue", "Show, pause and delete queues"),
    "dlq": ("dlq", "Show, retry and drop dead letters"),
    "call": ("call", "Send a task by its name"),
    "result": ("result", "Show the result of a task"),
    "purge": ("purge", "Delete all messages waiting in queues"),
    "wait": ("wait", "Wait until a condition holds"),
    "probe": ("probe", "Check the health of a node on this host"),
    "doctor": ("doctor", "Find what is wrong, and how to cure it"),
    "config": ("config", "Show, explain and check settings"),
    "report": ("report", "Show versions, platform and settings"),
    "list": ("list", "Show the bindings of the broker"),
    "graph": ("graph", "Draw the worker or the fleet as a graph"),
    "migrate": ("migrate", "Move messages from one broker to another"),
    "amqp": ("amqp", "Administer a RabbitMQ broker"),
    "logtool": ("logtool", "Make sense of worker logs"),
    "shell": ("shell", "Open a Python shell with the app and its tasks"),
    "init": ("init", "Write a project that runs"),
    "upgrade": ("upgrade", "Rewrite old setting names in a file"),
    "completion": ("completion", "Print or install the completion of a shell"),
    "man": ("man", "Show a manual page"),
    "help": ("help", "Show the help of a command"),
    "version": ("version", "Print the version"),
}

COMPLETE_VARIABLE = "_TASKCTL_COMPLETE"


class _AppOptions:
    """The options that apps add to commands; the library is loaded once one is looked for."""

    def looked_up(
        self, command: click.Command, ctx: click.Context, args: list[str]
    ) -> list[click.Option]:
        from . import app_options

        return app_options.looked_up(command, ctx, args)

    def parsed(self, ctx: click.Context) -> None:
        from . import app_options

        app_options.parsed(ctx)


#: Commands that do something even if nobody can read what they say.
_STAYING = frozenset({"worker", "beat", "multi", "events"})
#: What a shell says of a program that a closed pipe ended: 128 + SIGPIPE.
BROKEN_PIPE = 141


def run(words: Sequence[str], app: Any = None) -> int:
    """Run one command line; return the exit code. Every error ends here.

    `app` is used where the words name none.
    """
    context = Context()
    context.held_app = app
    context.app_options = _AppOptions()
    try:
        _fill_closed_streams(words)
        code = _run(list(words), context)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Python would complain once more when it flushes at the end.
        with open(os.devnull, "wb") as nothing, contextlib.suppress(OSError, ValueError):
            os.dup2(nothing.fileno(), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as exc:
        from .complaints import complain  # 5 ms, which a command that goes well need not pay

        return complain(exc, verbose=context.verbose)


def _fill_closed_streams(words: Sequence[str]) -> None:
    """Put /dev/null where the caller closed a standard stream, before a file gets its number.

    Raises CommandError if it is stdout, and the command is there to show something.
    """
    closed = [fd for fd, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)) if stream is None]
    for fd in closed:
        nothing = os.open(os.devnull, os.O_RDWR)
        if nothing != fd:
            os.dup2(nothing, fd)
            os.close(nothing)
        name, mode = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))[fd]
        setattr(sys, name, open(fd, mode, closefd=False))  # noqa: SIM115
    if 1 in closed and not _STAYING.intersection(words):
        raise CommandError("stdout is closed: there is nowhere to write to")


def _run(words: list[str], context: Context) -> int:
    group = Program()
    if instruction := os.environ.get(COMPLETE_VARIABLE):
        from .completer import answer

        return answer(group, context, instruction)
    try:
        with group.make_context("taskctl", words, obj=context) as ctx:
            result = group.invoke(ctx)
    except click.exceptions.Exit as exc:
        return exc.exit_code
    return result if isinstance(result, int) and not isinstance(result, bool) else 0


class Program(click.Group):
    """The commands of the table and of entry points, each imported when it is called."""

    def __init__(self) -> None:
        super().__init__(
            "taskctl",
            params=[*global_parameters(), _version_option()],
            help="A distributed task queue, and the tools to operate it.",
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
            invoke_without_command=True,
            no_args_is_help=False,
            subcommand_metavar="COMMAND [OPTIONS] [ARGS]",
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)
        # The group's own way parts the name of the command from its words, each release elsewhere.
        rest = click.Command.parse_args(self, ctx, args)
        ctx.obj.global_args = given[: len(given) - len(rest)]
        return rest

    def invoke(self, ctx: click.Context) -> Any:
        if not ctx.args:
            click.echo(ctx.get_help())
            return 0
        name, command, words = self.resolve_command(ctx, ctx.args)
        ctx.invoked_subcommand = name
        assert command is not None
        with command.make_context(name, words, parent=ctx) as below:
            return below.command.invoke(below)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *sorted(plugins())]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        command: click.Command | None = None
        if name in COMMANDS:
            module = importlib.import_module(f"taskctl.commands.{COMMANDS[name][0]}")
            command = module.command
        elif (plugin := plugins().get(name)) is not None:
            command = plugin.load()
        return None if command is None else equip(command, name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        command = self.get_command(ctx, name)
        if command is None:
            raise unknown(name, self.list_commands(ctx), "command", "taskctl --help")
        return name, command, args[1:]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, help) for name, (_, help) in COMMANDS.items()]
        rows += [(name, f"from {_package(found)}") for name, found in sorted(plugins().items())]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help_text(ctx, formatter)
        write_examples(formatter, ("taskctl -A proj worker -l INFO", "taskctl -A proj status"))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        items = [
            CompletionItem(name, help=COMMANDS[name][1] if name in COMMANDS else None)
            for name in self.list_commands(ctx)
            if name.startswith(incomplete)
        ]
        return items + click.Command.shell_complete(self, ctx, incomplete)


def unknown(word: str, choices: Iterable[str], what: str, see: str) -> Exception:
    """Return the error for a word that is not one of `choices`, with the nearest one."""
    import difflib  # for the line that went wrong alone

    near = difflib.get_close_matches(word, list(choices), 1)
    hint = f"did you mean: {near[0]}" if near else f"see: {see}"
    return usage(f"no {what} {word!r}", hint)


def plugins() -> dict[str, EntryPoint]:
    """Return the commands that other packages add, by name."""
    if not any(map(_may_add_commands, sys.path)):
        return {}
    # It brings the email package with it: 10 ms and 2 MiB, in every worker too.
    from importlib.metadata import entry_points

    found = entry_points(group="taskctl.commands")
    return {point.name: point for point in found if point.name not in COMMANDS}


def _may_add_commands(folder: str) -> bool:
    """Return whether a package in this folder of sys.path has entry points for us."""
    if not os.path.isdir(folder):
        return os.path.exists(folder)  # a zip file: importlib.metadata can look inside
    for info in os.scandir(folder):
        if info.name.endswith((".dist-info", ".egg-info", ".egg")):
            with contextlib.suppress(OSError), open(f"{info.path}/entry_points.txt", "rb") as file:
                if b"taskctl.commands" in file.read():
                    return True
    return False


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value


def _version_option() -> click.Option:
    def show(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value:
            click.echo(f"taskctl {__version__}")
            ctx.exit()

    return click.Option(
        ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=show,
        help="print the version",
    )  # fmt: skip
