"""`config humanize` and `config censor`: settings as a text that may be given away."""

from __future__ import annotations

import sys

import click

from taskctl.apps import user_app
from taskctl.command import Command, Option
from taskctl.context import Context
from taskctl.core.censor import censor, kind_of
from taskctl.failures import FAILED, OK, usage

_TEXTS = ("table", "plain", "celery", "json")


@click.pass_obj
def _humanize(context: Context, with_defaults: bool, no_censor: bool) -> int:
    console = context.console(piped="celery", formats=_TEXTS)
    if no_censor and not (sys.stdout.isatty() or context.options.get("yes")):
        raise usage(
            "--no-censor shows passwords, and stdout is no terminal",
            "if that is what you want, say so with --yes",
        )
    app = user_app(context)
    if console.format == "json":
        table = app.conf.table(with_defaults=with_defaults, censored=not no_censor)
        items = [{"key": key, "value": value} for key, value in table.items()]
        console.document("config.humanize", ok=True, items=items)
    elif text := app.conf.humanize(with_defaults, not no_censor):
        console.line(text)
    return OK


@click.pass_obj
def _censor(context: Context, file: str, check: bool) -> int:
    console = context.console(piped="plain", formats=("table", "plain", "json"))
    text = _read(file)
    kind = kind_of("" if file == "-" else file, text)
    copy = censor(text, kind)
    if check:
        return FAILED if copy.lines else OK
    if console.format == "json":
        item = {"path": None if file == "-" else file, "kind": kind, "text": copy.text}
        console.document("config.censor", ok=True, items=[{**item, "lines": copy.lines}])
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(copy.text.encode("utf-8", "surrogateescape"))
        sys.stdout.buffer.flush()
    return OK


def _read(file: str) -> str:
    """Return a text with its line ends as they are; bytes that are no UTF-8 survive."""
    if file == "-":
        raw = sys.stdin.buffer.read()
    else:
        with open(file, "rb") as stream:
            raw = stream.read()
    return raw.decode("utf-8", "surrogateescape")


humanize = Command(
    "humanize",
    callback=_humanize,
    params=[
        Option(["--with-defaults"], is_flag=True, help="print the defaults too"),
        Option(["--no-censor"], is_flag=True, help="show passwords; needs a terminal, or --yes"),
    ],
    help="Print settings as text, as Celery does.",
    examples=(
        "taskctl -A proj config humanize",
        "taskctl -A proj config humanize --with-defaults",
    ),
)

censor_text = Command(
    "censor",
    callback=_censor,
    params=[
        click.Argument(["file"], metavar="FILE|-"),
        Option(["--check"], is_flag=True, help="print nothing; exit 1 if a secret would show"),
    ],
    help="Copy a settings file with its secrets masked.",
    examples=(
        "taskctl config censor proj/config.py > for-the-ticket.py",
        "taskctl config censor --check .env",
    ),
)
