"""`taskctl config`: settings as they are, where they were set, and what is wrong with them."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem

from taskctl.apps import user_app
from taskctl.command import Command, Group, Option
from taskctl.context import Context
from taskctl.core.app import App
from taskctl.core.config import Origin
from taskctl.core.errors import SettingError
from taskctl.core.redact import mask
from taskctl.core.settings_readers import readers
from taskctl.core.settings_table import SETTINGS
from taskctl.failures import OK, usage
from taskctl.selection import list_options, take_selection
from taskctl.views.config import draw_explanation, draw_setting, draw_settings

from .config_check import check
from .config_diff import diff
from .config_texts import censor_text, humanize

_LISTS = ("table", "wide", "plain", "name", "json", "jsonl")

#: What is in force where nothing is set: settings whose value the app works out.
_WORKED_OUT = {"broker_url": App.broker_url, "result_backend": App.backend_url}


@click.pass_obj
def _show(context: Context, /, show_all: bool, **options: Any) -> int:
    console = context.console(formats=_LISTS, selection=take_selection(options))
    app = user_app(context)
    keys = sorted(app.conf if show_all else app.conf.without_defaults())
    draw_settings(console, [_item(app, key) for key in keys], total=len(app.conf))
    return OK


@click.pass_obj
def _get(context: Context, key: str) -> int:
    console = context.console(formats=_LISTS)
    app = user_app(context)
    draw_setting(console, _item(app, _known(app, key)))
    return OK


@click.pass_obj
def _explain(context: Context, key: str) -> int:
    console = context.console(piped="table", formats=_LISTS)
    app = user_app(context)
    name = _known(app, key)
    item = _item(app, name)
    item["places"] = [
        {"value": mask(value, name), "origin": _place(origin), "from": str(origin)}
        for value, origin in app.conf.places(name)
    ]
    if name in SETTINGS:
        found = app.conf.explain(name)
        row = SETTINGS[name]
        item |= {
            "help": found.help, "type": found.type, "old": list(found.old), "note": found.note,
            "own": row.own, "celery_default": found.celery_default,
            "read_by": list(readers(name)),
        }  # fmt: skip
    draw_explanation(console, item)
    return OK


def _known(app: App, key: str) -> str:
    """Return the right name of a setting, or of what the user keeps beside them."""
    try:
        return app.conf.explain(key).key
    except SettingError as exc:
        if key in app.conf.without_defaults():
            return key
        raise usage(exc.message, "all of them: taskctl config show -a -o name") from exc


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
        "origin": _place(origin),
        "default": default,
        "censored": shown != value,
        "from": str(origin),
    }


def _place(origin: Origin) -> dict[str, Any]:
    return {"kind": origin.kind, "path": origin.path, "line": origin.line}


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


class _Config(Group):
    """Its commands in the order they are asked for, not by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


command = _Config(
    "config",
    no_args_is_help=False,
    help="Show, explain, compare, mask and check settings.",
    examples=("taskctl -A proj config show", "taskctl -A proj config explain task_acks_late"),
    commands={
        "show": Command(
            "show",
            callback=_show,
            params=[
                Option(["-a", "--all", "show_all"], is_flag=True, help="show the defaults too"),
                *list_options(),
            ],
            help="List the settings that are set, and where.",
            examples=(
                "taskctl -A proj config show",
                "taskctl -A proj config show -a --where 'key == worker_*'",
            ),
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
        "explain": Command(
            "explain",
            callback=_explain,
            params=[click.Argument(["key"], type=_Key())],
            help="Say what a setting means, what it is, where it was set, and who reads it.",
            examples=(
                "taskctl -A proj config explain task_acks_late",
                "taskctl -A proj config explain CELERYD_CONCURRENCY -o json",
            ),
        ),
        "diff": diff,
        "check": check,
        "humanize": humanize,
        "censor": censor_text,
    },
)
