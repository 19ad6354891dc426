"""`taskctl dlq`: look at dead letters, send them back to their queues, drop them."""

from __future__ import annotations

from typing import Any

import click

from taskctl.at_broker import reaching, settled_app
from taskctl.command import Command, Group, Option
from taskctl.conditions import Condition
from taskctl.console import Console
from taskctl.context import Context
from taskctl.core import states
from taskctl.core.app import App
from taskctl.core.redact import mask
from taskctl.core.remote import queues as desk
from taskctl.core.remote.letters import (
    LETTER_KEYS,
    Letter,
    LetterBox,
    matching,
    row,
    whole_row,
)
from taskctl.failures import FAILED, OK, CommandError, usage
from taskctl.selection import list_options, take_selection
from taskctl.views.dlq import draw_done, draw_letter, draw_letters
from taskctl.views.purge import plural
from taskctl.watch import watch_option, watching

_FORMATS = ("table", "wide", "plain", "name", "json", "jsonl")
#: Fewer characters of an id are a slip rather than a name.
_SHORTEST = 6
_CHOOSING = "Which letters"
#: States of a result that a retry makes PENDING again; a SUCCESS is somebody else's.
_OVER = frozenset({states.FAILURE, states.REVOKED, states.REJECTED, states.RETRY})


@click.pass_obj
def _ls(context: Context, /, watch: float | None, **options: Any) -> int:
    console = context.console(formats=_FORMATS, selection=take_selection(options))
    app = settled_app(context)

    def draw(page: Console) -> int:
        with reaching(app):
            letters = _box(app).letters()
        draw_letters(page, [mask(row(letter)) for letter in letters])
        return OK

    return watching(console, watch, draw)


@click.pass_obj
def _show(context: Context, ids: tuple[str, ...]) -> int:
    console = context.console(formats=_FORMATS)
    app = settled_app(context)
    with reaching(app):
        found = _named(_box(app).letters(), ids)
    draw_letter(console, [mask(whole_row(letter)) for letter in found])
    return OK


@click.pass_obj
def _retry(context: Context, /, dry_run: bool, **which: Any) -> int:
    console = context.console(formats=_FORMATS)
    app = settled_app(context)
    with reaching(app):
        box = _box(app)
        letters = _chosen(box.letters(), **which)
        if dry_run:
            rows = [_done(one, "would retry" if one.queue else "no queue") for one in letters]
        else:
            rows = [_done(one, _retry_one(app, box, one)) for one in letters]
        if not dry_run:
            _tell_of_idle_queues(console, app, rows)
    stuck = [line for line in rows if line["result"] == "no queue"]
    sent = sum(line["result"] in ("retried", "would retry") for line in rows)
    verb = "would send" if dry_run else "sent"
    said = f"{verb} {plural(sent, 'message')} back to {'its queue' if sent == 1 else 'queues'}"
    draw_done(console, "dlq.retry", rows, said, ok=not stuck)
    for line in stuck:
        console.warn(f"{line['id']} does not say which queue it came from; see: taskctl dlq show")
    return FAILED if stuck else OK


def _retry_one(app: App, box: LetterBox, letter: Letter) -> str:
    if not letter.queue:
        return "no queue"
    return "retried" if box.retry(letter, lambda task_id: _reset(app, task_id)) else "gone"


def _reset(app: App, task_id: str) -> None:
    """Make the result of a task that failed PENDING again."""
    if app.backend_url() is None:
        return
    result = app.AsyncResult(task_id)
    if result.state in _OVER:
        result.forget()


def _tell_of_idle_queues(console: Console, app: App, rows: list[dict[str, Any]]) -> None:
    used = {line["queue"] for line in rows if line["result"] == "retried"}
    if not used:
        return
    for queue in desk.list_queues(app.shared_connection()):
        if queue["queue"] in used and queue["paused"]:
            console.note(f"queue {queue['queue']!r} is paused")
        elif queue["queue"] in used and not queue["consumers"]:
            console.note(f"no taskctl node takes from queue {queue['queue']!r}")


@click.pass_obj
def _drop(context: Context, /, dry_run: bool, force: bool, **which: Any) -> int:
    console = context.console(formats=_FORMATS)
    app = settled_app(context)
    with reaching(app):
        box = _box(app)
        letters = _chosen(box.letters(), **which)
        if dry_run:
            rows = [_done(letter, "would drop") for letter in letters]
        else:
            if letters:
                question = f"drop {plural(len(letters), 'dead letter')} for good?"
                context.confirm(question, required=True, force=force)
            rows = [_done(one, "dropped" if box.drop(one) else "gone") for one in letters]
    count = sum(line["result"] != "gone" for line in rows)
    verb = "would drop" if dry_run else "dropped"
    draw_done(console, "dlq.drop", rows, f"{verb} {plural(count, 'dead letter')}")
    return OK


def _done(letter: Letter, result: str) -> dict[str, Any]:
    return {"id": letter.id, "task": letter.task, "queue": letter.queue, "result": result}


def _box(app: App) -> LetterBox:
    return LetterBox(app.shared_connection(), app.conf.task_dead_letter_queue)


# --- which letters ------------------------------------------------------------------------------


def _chosen(
    letters: list[Letter], ids: tuple[str, ...], where: str | None, all_: bool
) -> list[Letter]:
    """Return the letters that were asked for, in one way of the three."""
    if bool(ids) + (where is not None) + all_ != 1:
        raise usage(
            "say which letters in one way: by ID, with --where or with --all",
            "example: taskctl dlq retry --where 'reason == unregistered' --dry-run",
        )
    if ids:
        return _named(letters, ids)
    if where is None:
        return letters
    condition = Condition(where, LETTER_KEYS, "--where")
    return [letter for letter in letters if condition.holds(row(letter))]


def _named(letters: list[Letter], ids: tuple[str, ...]) -> list[Letter]:
    found: dict[bytes, Letter] = {}
    for given in ids:
        fitting = matching(letters, given)
        names = sorted({letter.id for letter in fitting})
        if names and len(given) < _SHORTEST and given not in names:
            raise usage(f"{given!r} is too short for an id: write {_SHORTEST} characters or more")
        if len(names) > 1:
            raise usage(f"{given!r} could be {', '.join(names)}: write more of it")
        if not names:
            raise CommandError(f"no dead letter {given!r}", "all there are: taskctl dlq ls")
        found.update((letter.envelope, letter) for letter in fitting)
    return list(found.values())


def _ids(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word.strip() for word in value if word.strip())


def _choosing() -> list[click.Parameter]:
    return [
        click.Argument(["ids"], nargs=-1, metavar="[ID]...", callback=_ids),
        Option(
            ["--where"], metavar="CONDITION", group=_CHOOSING,
            help="letters that meet it: 'reason == worker-lost and attempts > 2'",
        ),
        Option(["--all", "all_"], is_flag=True, group=_CHOOSING, help="all of them"),
        Option(["--dry-run"], is_flag=True, help="do nothing; say which letters it would be"),
    ]  # fmt: skip


class _Dlq(Group):
    """Its commands in the order they are needed, not by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


command = _Dlq(
    "dlq",
    no_args_is_help=False,
    help="Show, retry and drop dead letters: messages that nobody may run again.",
    examples=("taskctl -A proj dlq ls", "taskctl -A proj dlq retry 8f0c1a2b"),
    commands={
        "ls": Command(
            "ls",
            callback=_ls,
            params=[watch_option(), *list_options()],
            help="List dead letters, the oldest first.",
            examples=(
                "taskctl -A proj dlq ls",
                "taskctl -A proj dlq ls --where 'task == proj.*' --sort -attempts",
            ),
        ),
        "show": Command(
            "show",
            callback=_show,
            params=[
                click.Argument(["ids"], nargs=-1, required=True, metavar="ID...", callback=_ids)
            ],
            help="Show dead letters whole: arguments, headers, traceback.",
            examples=("taskctl -A proj dlq show 8f0c1a2b", "taskctl dlq show 8f0c1a2b -o json"),
        ),
        "retry": Command(
            "retry",
            callback=_retry,
            params=_choosing(),
            help="Send dead letters back to their queues, under their ids, attempts forgotten.",
            examples=(
                "taskctl -A proj dlq retry 8f0c1a2b",
                "taskctl -A proj dlq retry --where 'reason == unregistered'",
            ),
        ),
        "drop": Command(
            "drop",
            callback=_drop,
            params=[*_choosing(), Option(["-f", "--force"], is_flag=True, help="do not ask")],
            help="Delete dead letters for good.",
            examples=(
                "taskctl -A proj dlq drop 8f0c1a2b",
                "taskctl -A proj dlq drop --all --dry-run",
            ),
        ),
    },
)
