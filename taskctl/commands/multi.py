"""`taskctl multi`: many nodes on this host, started, stopped, restarted and looked at.

Parses, asks taskctl.multi, and hands plain facts to the view. Loads no app and no broker.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence

import click
from click.shell_completion import CompletionItem

from taskctl.completions import multi_words
from taskctl.core.errors import PidfileError, TemplateError
from taskctl.core.redact import mask_text
from taskctl.core.templates import expand, multi_letters
from taskctl.multi.fleet import Restart, kill, start, stop
from taskctl.multi.grammar import Line, UsageError, parse
from taskctl.multi.logs import print_logs
from taskctl.multi.nodes import Node
from taskctl.multi.records import RecordError, Records
from taskctl.multi.resolve import nodes_to_start, renewals, targets
from taskctl.multi.starter import Starter
from taskctl.multi.stopper import Stopper, Target, status
from taskctl.views.multi import Screen, draw_lines, draw_status

from .multi_help import help_lines
from .multi_output import (
    FAILED,
    OK,
    PARTIAL,
    TRY_LATER,
    UNAVAILABLE,
    USAGE,
    Tally,
    screen_for,
    warn,
)


def run(argv: Sequence[str], *, global_args: Sequence[str] = ()) -> int:
    """Do what a `multi` command line says; return the exit code.

    `argv` is what followed the word `multi`, `global_args` the options in front of it.
    """
    try:
        line = parse(argv, global_args)
        if line.command == "help" or "--help" in line.own:
            draw_lines(help_lines())
            return OK
        return _COMMANDS[line.command](line)
    except UsageError as exc:
        _error(str(exc), exc.hint)
        return USAGE
    except (RecordError, PidfileError) as exc:
        _error(str(exc))
        return FAILED
    except KeyboardInterrupt:
        _error("interrupted; what was started or told to stop goes on", "see: taskctl multi status")
        return 128 + signal.SIGINT


def _start(line: Line) -> int:
    nodes, warnings = nodes_to_start(line, line.words)
    screen = screen_for(line, [node.name for node in nodes], warnings)
    tally = Tally(screen)
    records = Records()
    with records.restarting([node.name for node in nodes]) as taken:
        if taken is not None:
            return _taken(taken)
        _print_command_lines(line, screen, nodes)
        start(nodes, _starter(line, records), tally.tell)
    started = tally.count("ready", "spawned")
    text = f"started {started} of {_nodes(nodes)}"
    if running := tally.count("running"):
        text += f"; {running} already running"
    return tally.finish(text)


def _stop(line: Line) -> int:
    wait = line.command == "stopwait" or "--wait" in line.own
    for option in ("--timeout", "--then-kill"):
        if option in line.own and not wait:
            raise UsageError(f"{option} goes with stopwait or --wait")
    if "--then-kill" in line.own and "--timeout" not in line.own:
        raise UsageError("--then-kill wants --timeout S: kill after how long?")
    found, warnings = targets(line, Records())
    screen = screen_for(line, [target.name for target in found], warnings)
    tally = Tally(screen)
    stop(found, _stopper(line), tally.tell, wait=wait, waiting=screen.waiting)
    if wait:
        stopped = tally.count("stopped", "killed")
        return tally.finish(f"stopped {stopped} of {_nodes(found)}")
    told = tally.count("signalled")
    return tally.finish(f"told {told} of {_nodes(found)} to stop; not waiting (stopwait waits)")


def _restart(line: Line) -> int:
    if "--max-down" in line.own and "--rolling" not in line.own:
        raise UsageError("--max-down goes with --rolling")
    if "--then-kill" in line.own and "--timeout" not in line.own:
        raise UsageError("--then-kill wants --timeout S: kill after how long?")
    records = Records()
    found, warnings = renewals(line, records)
    max_down = int(line.number("--max-down", 1)) if "--rolling" in line.own else None
    nodes = [renewal.node for renewal in found]
    screen = screen_for(line, [node.name for node in nodes], warnings)
    tally = Tally(screen)
    with records.restarting([node.name for node in nodes]) as taken:
        if taken is not None:
            return _taken(taken)
        _print_command_lines(line, screen, nodes)
        starter = _starter(line, records)
        Restart(found, _stopper(line), starter, tally.tell, max_down=max_down).run()
    started = tally.count("ready", "spawned", "running")
    return tally.finish(f"restarted {started} of {_nodes(nodes)}")


def _kill(line: Line) -> int:
    if not line.words:
        raise UsageError("multi kill wants names of nodes or a number of them, got nothing")
    found, warnings = targets(line, Records())
    screen = screen_for(line, [target.name for target in found], warnings)
    live = [target for target in found if status(target).state in ("ready", "starting")]
    if "--dry-run" in line.own:
        names = ", ".join(target.name for target in live) or "none"
        print(f"would kill {len(live)} of {_nodes(found)}: {names}", file=sys.stderr)
        return OK
    if not _confirmed(line, live):
        return FAILED
    tally = Tally(screen)
    kill(found, tally.tell)
    return tally.finish(f"killed {tally.count('killed')} of {_nodes(found)}")


def _status(line: Line) -> int:
    found, warnings = targets(line, Records())
    screen = screen_for(line, [target.name for target in found], warnings, piped="plain")
    reports = [status(target) for target in sorted(found, key=lambda target: target.name)]
    ready = sum(report.state == "ready" for report in reports)
    if screen.format in ("table", "wide"):
        draw_status([report.facts() for report in reports], colour=screen.colour, out=screen.out)
        for report in reports:
            for note in filter(None, (report.note, report.error)):
                screen.note(note)
    else:
        for report in reports:
            screen.tell(report.facts())
    screen.finish(f"{ready} of {_nodes(reports)} ready", ok=ready == len(reports))
    if ready == len(reports):
        return OK
    return (
        PARTIAL if any(report.state in ("ready", "starting") for report in reports) else UNAVAILABLE
    )


def _show(line: Line) -> int:
    nodes, warnings = nodes_to_start(line, line.words)
    warn(line, warnings)
    draw_lines(_shell_line(line, node.argv) for node in nodes)
    return OK


def _names(line: Line) -> int:
    nodes, warnings = nodes_to_start(line, line.words)
    warn(line, warnings)
    draw_lines(node.name for node in nodes)
    return OK


def _expand(line: Line) -> int:
    if not line.words:
        raise UsageError("multi expand wants a template", "example: taskctl multi expand %n.pid 3")
    template, *words = line.words
    nodes, warnings = nodes_to_start(line, words)
    warn(line, warnings)
    try:
        lines = [expand(template, multi_letters(node.name), option="expand") for node in nodes]
    except TemplateError as exc:
        raise UsageError(str(exc)) from exc
    draw_lines(lines)
    return OK


def _get(line: Line) -> int:
    if not line.words:
        raise UsageError(
            "multi get wants the name of a node", "example: taskctl multi get w1 w1 w2"
        )
    wanted, *words = line.words
    nodes, warnings = nodes_to_start(line, words)
    warn(line, warnings)
    for node in nodes:
        if wanted in (node.name, node.short_name):
            draw_lines([_shell_line(line, node.argv[1:])])
            return OK
    _error(f"no node {wanted!r}: there are {', '.join(node.name for node in nodes)}")
    return FAILED


def _forget(line: Line) -> int:
    if not line.words:
        raise UsageError("multi forget wants names of nodes", "see: taskctl multi status")
    records = Records()
    found, warnings = targets(line, records)
    warn(line, warnings)
    gone = [records.forget(target.name) for target in found]
    for target, known in zip(found, gone, strict=True):
        print(f"{target.name}  {'forgotten' if known else 'was not on record'}")
    return OK


def _logs(line: Line) -> int:
    found, warnings = targets(line, Records())
    warn(line, warnings)
    files = {target.name: target.logfile for target in found}
    missing = print_logs(
        files, lines=int(line.number("--lines", 20)), follow="--follow" in line.own
    )
    for name in missing:
        _error(f"{name} has no log at {files[name]}")
    return FAILED if missing else OK


def _starter(line: Line, records: Records) -> Starter:
    parallel = line.own.get("--parallel")
    return Starter(
        records,
        ready_timeout=line.number("--ready-timeout", 30.0),
        wait="--no-wait" not in line.own,
        parallel=None if parallel is None else max(1, int(line.number("--parallel", 1))),
    )


def _stopper(line: Line) -> Stopper:
    timeout = line.number("--timeout", 0.0) if "--timeout" in line.own else None
    return Stopper(
        line.signal or signal.SIGTERM, timeout=timeout, then_kill="--then-kill" in line.own
    )


def _print_command_lines(line: Line, screen: Screen, nodes: Sequence[Node]) -> None:
    if "--verbose" in line.own:
        for node in nodes:
            screen.note(_shell_line(line, node.argv))


def _shell_line(line: Line, argv: Sequence[str]) -> str:
    words = argv if "--no-censor" in line.own else [mask_text(word) for word in argv]
    return shlex.join(words)


def _nodes(things: Sequence[object]) -> str:
    return f"{len(things)} node" if len(things) == 1 else f"{len(things)} nodes"


def _confirmed(line: Line, live: Sequence[Target]) -> bool:
    """Ask before killing, on a terminal only; the default is no."""
    policy = "never" if "--yes" in line.own else os.environ.get("TASKCTL_CONFIRM", "auto")
    on_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    if not live or policy == "never" or not on_terminal:
        return True
    print(f"kill {_nodes(live)} at once, running tasks and all? [y/N] ", end="", file=sys.stderr)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _taken(name: str) -> int:
    _error(f"another start or restart of {name} is running", "try again when it has ended")
    return TRY_LATER


def _error(message: str, hint: str = "") -> None:
    sys.stdout.flush()
    print(f"error: {mask_text(message)}", file=sys.stderr)
    if hint:
        print(f"  {hint}", file=sys.stderr)


_COMMANDS: dict[str, Callable[[Line], int]] = {
    "start": _start,
    "stop": _stop,
    "stopwait": _stop,
    "restart": _restart,
    "kill": _kill,
    "status": _status,
    "show": _show,
    "names": _names,
    "expand": _expand,
    "get": _get,
    "logs": _logs,
    "forget": _forget,
}


class _Multi(click.Command):
    """Hands its words on as they are: the grammar of multi is not click's."""

    takes_raw_words = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.params["argv"] = list(args)
        return []

    def get_help(self, ctx: click.Context) -> str:
        return "\n".join(help_lines())

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        return multi_words(ctx.params["argv"], incomplete)


@click.pass_context
def _run_command(context: click.Context, argv: list[str]) -> None:
    context.exit(run(argv, global_args=getattr(context.obj, "global_args", ())))


command = _Multi(
    "multi",
    callback=_run_command,
    help="Start, stop and restart several nodes on this host.",
    add_help_option=False,
)
