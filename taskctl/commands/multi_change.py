"""`taskctl multi start|stop|stopwait|restart|kill`: what changes which nodes run."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from taskctl.context import Context
from taskctl.failures import OK, TRY_LATER, CommandError
from taskctl.multi.fleet import Restart, kill, start, stop
from taskctl.multi.grammar import Line, UsageError
from taskctl.multi.nodes import Node
from taskctl.multi.records import Records
from taskctl.multi.resolve import nodes_to_start, renewals, targets
from taskctl.multi.starter import Starter
from taskctl.multi.stopper import Stopper, Target, status
from taskctl.views.multi import Screen

from .multi_output import Tally, plural, screen_for, shell_line


def start_nodes(line: Line, context: Context) -> int:
    """Start nodes, and see each through until it is ready."""
    nodes, warnings = nodes_to_start(line, line.words)
    screen = screen_for(line, context, [node.name for node in nodes], warnings)
    tally = Tally(screen)
    records = Records()
    starter = _starter(line, records)
    with records.restarting([node.name for node in nodes]) as taken:
        if taken is not None:
            raise _taken(taken)
        _print_command_lines(line, screen, nodes)
        start(nodes, starter, tally.tell)
    started = tally.count("ready", "spawned")
    text = f"started {started} of {plural(nodes)}"
    if running := tally.count("running"):
        text += f"; {running} already running"
    return tally.finish(text)


def stop_nodes(line: Line, context: Context) -> int:
    """Tell nodes to stop; see them go if that was asked for."""
    wait = line.command == "stopwait" or "--wait" in line.own
    for option in ("--timeout", "--then-kill"):
        if option in line.own and not wait:
            raise UsageError(f"{option} goes with stopwait or --wait")
    stopper = _stopper(line)
    found, warnings = targets(line, Records())
    screen = screen_for(line, context, [target.name for target in found], warnings)
    tally = Tally(screen)
    stop(found, stopper, tally.tell, wait=wait, waiting=tally.waiting)
    if wait:
        stopped = tally.count("stopped", "killed")
        return tally.finish(f"stopped {stopped} of {plural(found)}")
    told = tally.count("signalled")
    return tally.finish(f"told {told} of {plural(found)} to stop; not waiting (stopwait waits)")


def restart_nodes(line: Line, context: Context) -> int:
    """Stop nodes, and start each as soon as it is down."""
    if "--max-down" in line.own and "--rolling" not in line.own:
        raise UsageError("--max-down goes with --rolling")
    stopper = _stopper(line)
    records = Records()
    found, warnings = renewals(line, records)
    max_down = line.whole("--max-down", 1) if "--rolling" in line.own else None
    nodes = [renewal.node for renewal in found]
    screen = screen_for(line, context, [node.name for node in nodes], warnings)
    tally = Tally(screen)
    starter = _starter(line, records)
    with records.restarting([node.name for node in nodes]) as taken:
        if taken is not None:
            raise _taken(taken)
        _print_command_lines(line, screen, nodes)
        Restart(found, stopper, starter, tally.tell, max_down=max_down, waiting=tally.waiting).run()
    started = tally.count("ready", "spawned", "running")
    return tally.finish(f"restarted {started} of {plural(nodes)}")


def kill_nodes(line: Line, context: Context) -> int:
    """Kill nodes at once, after a question on a terminal."""
    if not line.words:
        raise UsageError("multi kill wants names of nodes or a number of them, got nothing")
    found, warnings = targets(line, Records())
    live = [target for target in found if status(target).pid is not None]
    if "--dry-run" in line.own:
        return _say_what(context, found, live)
    screen = screen_for(line, context, [target.name for target in found], warnings)
    if live:
        context.confirm(f"kill {plural(live)} at once, running tasks and all?")
    tally = Tally(screen)
    kill(found, tally.tell)
    return tally.finish(f"killed {tally.count('killed')} of {plural(found)}")


def _say_what(context: Context, found: Sequence[Target], live: Sequence[Target]) -> int:
    """Say which nodes would be killed, and what they are at."""
    console = context.console(piped="celery")
    reports = [status(target) for target in live]
    if console.format == "json":
        nodes = {report.node: {"ok": report.facts()} for report in reports}
        console.document("multi.kill", ok=True, nodes=nodes, dry_run=True)
        return OK
    console.line(f"would kill {len(live)} of {plural(found)}")
    for report in reports:
        running = report.running_tasks
        tasks = "" if running is None else f", {running} task{'' if running == 1 else 's'} running"
        console.line(f"  {report.node}  pid {report.pid}{tasks}")
    return OK


def _starter(line: Line, records: Records) -> Starter:
    return Starter(
        records,
        ready_timeout=line.number("--ready-timeout", 30.0),
        wait="--no-wait" not in line.own,
        parallel=line.whole("--parallel", 1) if "--parallel" in line.own else None,
    )


def _stopper(line: Line) -> Stopper:
    if "--then-kill" in line.own and "--timeout" not in line.own:
        raise UsageError("--then-kill wants --timeout S: kill after how long?")
    timeout = line.number("--timeout", 0.0) if "--timeout" in line.own else None
    return Stopper(
        line.signal or signal.SIGTERM, timeout=timeout, then_kill="--then-kill" in line.own
    )


def _print_command_lines(line: Line, screen: Screen, nodes: Sequence[Node]) -> None:
    if "--verbose" in line.own:
        for node in nodes:
            screen.note(shell_line(line, node.argv))


def _taken(name: str) -> CommandError:
    return CommandError(
        f"another start or restart of {name} is running",
        "try again when it has ended",
        exit_code=TRY_LATER,
        code="taken",
    )
