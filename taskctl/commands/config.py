"""`taskctl config`: settings as they are, where they were set, and what is wrong with them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click
from click.shell_completion import CompletionItem

from taskctl.apps import user_app
from taskctl.command import Command, Group, Option
from taskctl.context import Context
from taskctl.core.app import App
from taskctl.core.censor import censor, kind_of
from taskctl.core.config import Problem
from taskctl.core.errors import AppNotFound, ImproperlyConfigured, SettingError
from taskctl.core.redact import mask
from taskctl.core.settings_table import SETTINGS
from taskctl.failures import CONFIG, FAILED, OK, usage
from taskctl.views.config import draw_problems, draw_setting, draw_settings

_LISTS = ("table", "wide", "plain", "name", "json", "jsonl")
_TEXTS = ("table", "plain", "celery", "json")

#: What is in force where nothing is set: settings whose value the app works out.
_WORKED_OUT = {"broker_url": App.broker_url, "result_backend": App.backend_url}


# -- show and get


@click.pass_obj
def _show(context: Context, show_all: bool) -> int:
    console = context.console(formats=_LISTS)
    app = user_app(context)
    keys = sorted(app.conf if show_all else app.conf.without_defaults())
    draw_settings(console, [_item(app, key) for key in keys], total=len(app.conf))
    return OK


@click.pass_obj
def _get(context: Context, key: str) -> int:
    console = context.console(formats=_LISTS)
    app = user_app(context)
    try:
        name = app.conf.explain(key).key
    except SettingError as exc:
        if key not in app.conf.without_defaults():
            raise usage(exc.message, "all of them: taskctl config show -a -o name") from exc
        name = key
    draw_setting(console, _item(app, name))
    return OK


def _item(app: App, key: str) -> dict[str, Any]:
    """Return what there is to say of one setting, as the native JSON has it, and `from`."""
    value, origin = app.conf[key], app.conf.origin(key)
    if value is None and key in _WORKED_OUT:
        value = _WORKED_OUT[key](app)
    shown = mask(value, key)
    default = SETTINGS[key].default if key in SETTINGS else None
    return {
        "key": key,
        "value": shown,
        "origin": {"kind": origin.kind, "path": origin.path, "line": origin.line},
        "default": default,
        "censored": shown != value,
        "from": str(origin),
    }


class _Key(click.ParamType):  # type: ignore[type-arg]
    """The name of a setting, new or old."""

    name = "key"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        begun = incomplete.lower()
        return [
            CompletionItem(name, help=row.help)
            for name, row in SETTINGS.items()
            if name.startswith(begun)
        ]


# -- humanize


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
    elif text := app.conf.humanize(with_defaults=with_defaults, censored=not no_censor):
        console.line(text)
    return OK


# -- censor


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


# -- check


@click.pass_obj
def _check(context: Context) -> int:
    console = context.console(piped="table", formats=_LISTS)
    problems = list(_problems(context))
    items = [
        {"severity": p.severity, "key": p.key or None, "message": p.message, "from": p.where}
        for p in problems
    ]
    draw_problems(console, [mask(item) for item in items], ok=not problems)
    return CONFIG if problems else OK


def _problems(context: Context) -> Iterator[Problem]:
    """Yield what is wrong with the settings, also if it keeps the app from being imported."""
    try:
        yield from user_app(context).conf.check()
    except ImproperlyConfigured as exc:
        yield Problem.of_error(exc)
    except AppNotFound as exc:
        cause = _settings_error(exc)
        if cause is None:
            raise
        yield Problem.of_error(cause)


def _settings_error(exc: BaseException) -> ImproperlyConfigured | None:
    """Return the settings error that ended an import, if one did."""
    cause = exc.__cause__ or exc.__context__
    while cause is not None:
        if isinstance(cause, ImproperlyConfigured):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


class _Config(Group):
    """Its commands in the order they are asked for, not by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


command = _Config(
    "config",
    no_args_is_help=False,
    help="Show, print, mask and check settings.",
    examples=("taskctl -A proj config show", "taskctl -A proj config get broker_url"),
    commands={
        "show": Command(
            "show",
            callback=_show,
            params=[
                Option(["-a", "--all", "show_all"], is_flag=True, help="show the defaults too")
            ],
            help="List the settings that are set, and where.",
            examples=("taskctl -A proj config show", "taskctl -A proj config show -a -o json"),
        ),
        "get": Command(
            "get",
            callback=_get,
            params=[click.Argument(["key"], type=_Key())],
            help="Print the bare value of one setting.",
            examples=(
                "taskctl -A proj config get broker_url",
                "taskctl -A proj config get task_acks_late",
            ),
        ),
        "humanize": Command(
            "humanize",
            callback=_humanize,
            params=[
                Option(["--with-defaults"], is_flag=True, help="print the defaults too"),
                Option(
                    ["--no-censor"],
                    is_flag=True,
                    help="show passwords; needs a terminal, or --yes",
                ),
            ],
            help="Print settings as text, as Celery does.",
            examples=(
                "taskctl -A proj config humanize",
                "taskctl -A proj config humanize --with-defaults",
            ),
        ),
        "censor": Command(
            "censor",
            callback=_censor,
            params=[
                click.Argument(["file"], metavar="FILE|-"),
                Option(
                    ["--check"],
                    is_flag=True,
                    help="print nothing; exit 1 if a secret would show",
                ),
            ],
            help="Copy a settings file with its secrets masked.",
            examples=(
                "taskctl config censor proj/config.py > for-the-ticket.py",
                "taskctl config censor --check .env",
            ),
        ),
        "check": Command(
            "check",
            callback=_check,
            help="Find unknown, unused and conflicting settings.",
            examples=("taskctl -A proj config check", "taskctl -A proj config check -o json"),
        ),
    },
)
