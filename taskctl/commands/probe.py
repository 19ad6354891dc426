"""`taskctl probe`: whether a node of this host lives, or takes tasks, from its health file."""

from __future__ import annotations

import click

from taskctl.command import Command, Option
from taskctl.context import Context
from taskctl.multi.records import RecordError, Records
from taskctl.probing import KINDS, exit_code, look
from taskctl.views.probe import COLUMNS, summary

#: Formats there are: all but Celery's, which has no such command.
_FORMATS = ("table", "wide", "plain", "name", "json", "jsonl")


@click.pass_obj
def _probe(context: Context, /, kind: str, node: str | None, health_file: str | None) -> int:
    console = context.console(formats=_FORMATS)
    item = look(node, health_file, _kept_elsewhere(context))
    code = exit_code(kind, item)
    console.rows("probe", COLUMNS, [item], ok=code == 0)
    console.summary(summary(item))
    return code


def _kept_elsewhere(context: Context) -> dict[str, str | None]:
    """Return the health files that nodes of `multi` were told to keep in another place."""
    found: dict[str, str | None] = {}
    try:
        records = Records().all()
    except RecordError as exc:
        context.note(str(exc))
        return found
    for record in records:
        given = [word for word in record.argv if word.startswith("--health-file")]
        if given:
            found[record.name] = None if given[-1].endswith("=none") else record.healthfile
    return found


command = Command(
    "probe",
    callback=_probe,
    params=[
        click.Argument(["kind"], type=click.Choice(KINDS), metavar="live|ready"),
        Option(
            ["-n", "--node"], metavar="NODE",
            help="the node: w1@host or w1 (default: the only one on this host)",
        ),
        Option(
            ["--health-file"], metavar="FILE",
            help="its health file (default: RUN/NODE.health, or as multi started it)",
        ),
    ],
    help="Check the health of a node on this host; exit 0 if it is live, or ready.",
    examples=("taskctl probe live", "taskctl probe ready -n w1"),
)  # fmt: skip
