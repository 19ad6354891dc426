"""`taskctl migrate`: take messages from one broker to another."""

from __future__ import annotations

import time

import click

from taskctl.apps import shown_url
from taskctl.at_broker import no_queue, settled_app
from taskctl.command import AtLeast, Command, Option
from taskctl.console import Console
from taskctl.context import Context
from taskctl.core.app import App
from taskctl.core.remote import queues as desk
from taskctl.core.remote.moving import Moved, Mover, Wanted
from taskctl.failures import OK, usage
from taskctl.tables import Column, number
from taskctl.views.purge import plural

_FORMATS = ("table", "wide", "plain", "name", "json", "jsonl")
_COLUMNS = (
    Column("queue", "QUEUE", shrinks=True),
    Column("messages", "MESSAGES", number, right=True),
    Column("destination", "TO", shrinks=True),
)
#: Seconds after which people see how far it is, and between two such looks.
_QUIET_FOR, _EVERY = 0.5, 0.1


@click.pass_obj
def _migrate(
    context: Context,
    /,
    source: str,
    destination: str,
    limit: int | None,
    timeout: float,
    ack_messages: bool,
    tasks: str | None,
    queues: str | None,
    forever: bool,
    dry_run: bool,
) -> int:
    console = context.console(formats=_FORMATS)
    wanted = Wanted(
        queues=_mapping(queues),
        tasks=frozenset(_words(tasks)) if tasks is not None else None,
        limit=limit,
    )
    _refuse_circle(source, destination, wanted)
    app = settled_app(context)
    mover = _mover(app, source, destination, wanted, keep=not ack_messages)
    if not forever:
        _refuse_unknown(app, mover, wanted)
    counts = mover.count() if dry_run or context.asks else {}
    if dry_run:
        _draw(console, counts, wanted)
        console.summary(f"would {_verb(ack_messages)} {_total(counts)}")
        return OK
    if sum(counts.values()) or forever:
        what = "what comes" if forever else _total(counts)
        context.confirm(
            f"{_verb(ack_messages)} {what} from {shown_url(source)} to {shown_url(destination)}?"
        )
    if not ack_messages:
        console.note("the source keeps its messages; -a removes them")
    _run(console, mover, wanted, timeout, forever)
    return OK


def _run(console: Console, mover: Mover, wanted: Wanted, timeout: float, forever: bool) -> None:
    """Move, and say what went, also if it ends before its time."""
    progress = _Progress(console)
    done = "copied" if mover.keep else "moved"
    try:
        mover.run(timeout=timeout, forever=forever, progress=progress.show)
    except BaseException:
        progress.wipe()
        console.note(f"{done} {_total(mover.moved.counts)}, then it ended")
        raise
    progress.wipe()
    _draw(console, mover.moved.counts, wanted)
    console.summary(f"{done} {_total(mover.moved.counts)}")


def _mover(app: App, source: str, destination: str, wanted: Wanted, *, keep: bool) -> Mover:
    mover = Mover(app.connection(source), app.connection(destination), wanted, keep=keep)
    # Nothing leaves the source before the destination is known to be there.
    mover.source.open()
    mover.destination.open()
    return mover


def _refuse_unknown(app: App, mover: Mover, wanted: Wanted) -> None:
    for name in wanted.queues or ():
        if not desk.queue_exists(mover.source, name):
            raise no_queue(name, [row["queue"] for row in desk.list_queues(mover.source)])


def _refuse_circle(source: str, destination: str, wanted: Wanted) -> None:
    renamed = wanted.queues is not None and all(old != new for old, new in wanted.queues.items())
    if source == destination and not renamed:
        raise usage(
            "source and destination are the same broker",
            "to rename queues there: -Q old:new",
        )


def _mapping(given: str | None) -> dict[str, str] | None:
    """Return what `a,b:new` says: a to a, b to new."""
    if given is None:
        return None
    pairs = (word.partition(":") for word in _words(given))
    return {old: new or old for old, _, new in pairs}


def _words(given: str | None) -> list[str]:
    return [word.strip() for word in (given or "").split(",") if word.strip()]


def _draw(console: Console, counts: dict[str, int], wanted: Wanted) -> None:
    rows = [
        {
            "queue": queue,
            "messages": count,
            "destination": (wanted.queues or {}).get(queue, queue),
        }
        for queue, count in counts.items()
    ]
    console.rows("migrate", _COLUMNS, rows)


def _total(counts: dict[str, int]) -> str:
    used = [queue for queue, count in counts.items() if count]
    return f"{plural(sum(counts.values()), 'message')} of {plural(len(used), 'queue')}"


def _verb(moves: bool) -> str:
    return "move" if moves else "copy"


class _Progress:
    """One line on stderr that counts, for people."""

    def __init__(self, console: Console) -> None:
        self._stream = console.err
        self._wanted = console.err.isatty() and not console.quiet
        self._next = time.monotonic() + _QUIET_FOR
        self._shown = False

    def show(self, moved: Moved) -> None:
        if not self._wanted or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY
        self._shown = True
        print(f"\r\x1b[K{_total(moved.counts)}", end="", file=self._stream, flush=True)

    def wipe(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=self._stream, flush=True)


command = Command(
    "migrate",
    callback=_migrate,
    params=[
        click.Argument(["source"], metavar="SOURCE"),
        click.Argument(["destination"], metavar="DESTINATION"),
        Option(
            ["-n", "--limit"], type=AtLeast(int, 1), metavar="N",
            help="at most so many messages (default: all)",
        ),
        Option(
            ["-t", "--timeout"], type=AtLeast(float, 0.0), default=1.0, metavar="SECONDS",
            help="end when nothing has come for so long (default: 1.0)",
        ),
        Option(
            ["-a", "--ack-messages"], is_flag=True,
            help="remove from the source what the destination has (default: copy)",
        ),
        Option(["-T", "--tasks"], metavar="LIST", help="only these tasks, by name"),
        Option(
            ["-Q", "--queues"], metavar="LIST",
            help="only these queues; old:new gives one another name",
        ),
        Option(["-F", "--forever"], is_flag=True, help="go on until Ctrl-C"),
        Option(["--dry-run"], is_flag=True, help="move nothing; count what would go"),
    ],
    help="Copy or move messages from one broker to another; both are given by URL.",
    examples=(
        "taskctl migrate sqlite:////srv/shop/queue.db redis://db1/0 -a",
        "taskctl migrate redis://db1/0 redis://db2/0 -Q images,video:film --dry-run",
    ),
)  # fmt: skip
