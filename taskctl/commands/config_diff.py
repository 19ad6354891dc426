"""`config diff`: two sets of settings side by side; exit codes are those of diff(1)."""

from __future__ import annotations

import os
from typing import Any

import click

from taskctl.apps import client_app, user_app
from taskctl.command import AtLeast, Command, Option
from taskctl.completions import nodes
from taskctl.context import Context
from taskctl.core.config import Origin
from taskctl.core.errors import ImproperlyConfigured
from taskctl.core.redact import mask
from taskctl.core.settings_files import Values, defaults, plain, read_settings_file
from taskctl.failures import FAILED, OK, usage
from taskctl.remote import Asking, Fleet, content, error_of
from taskctl.selection import list_options, take_selection
from taskctl.views.config import draw_differences

_LISTS = ("table", "wide", "plain", "name", "json", "jsonl")
_WORDS = ("app", "default", "celery")
_SUFFIXES = (".py", ".toml", ".env", ".json")


@click.pass_obj
def _diff(context: Context, /, left: str, right: str, timeout: float, **options: Any) -> int:
    console = context.console(piped="plain", formats=_LISTS, selection=take_selection(options))
    sides = [_side(context, word, timeout) for word in (left, right)]
    items = _differences(*sides)
    draw_differences(console, items, (left, right))
    return FAILED if items else OK


def _side(context: Context, word: str, timeout: float) -> Values:
    """Return the settings that a word stands for."""
    if word == "app":
        conf = user_app(context).conf
        return {key: (conf[key], conf.origin(key)) for key in conf.without_defaults()}
    if word in ("default", "celery"):
        return defaults(celery=word == "celery")
    if os.sep in word or word.endswith(_SUFFIXES) or os.path.isfile(word):
        return _of_file(word)
    return _of_node(context, word, timeout)


def _of_file(path: str) -> Values:
    try:
        return read_settings_file(path)
    except ImproperlyConfigured as exc:
        raise usage(str(exc)) from exc
    except OSError as exc:
        raise usage(f"{path}: {(exc.strerror or str(exc)).lower()}") from exc


def _of_node(context: Context, name: str, timeout: float) -> Values:
    """Ask a node; what it says of secrets is masked."""
    fleet = Fleet(client_app(context), Asking(destination=(name,), timeout=timeout))
    [reply, *_] = fleet.ask("conf", {"with_defaults": False}).replies
    if (refused := error_of(reply.value)) is not None:
        raise usage(f"{reply.node} does not tell its settings: {refused}")
    origin = Origin("node", reply.node)
    return {key: (value, origin) for key, value in dict(content(reply.value)).items()}


def _differences(left: Values, right: Values) -> list[dict[str, Any]]:
    """Return one item for each setting that is not the same on both sides, ordered by key."""
    from_node = any(o.kind == "node" for side in (left, right) for _, o in side.values())
    items = []
    for key in sorted({*left, *right}):
        (one, of_one), (other, of_other) = (_found(side, key) for side in (left, right))
        shown = [plain(mask(value, key)) for value in (one, other)]
        same = shown[0] == shown[1] if from_node else plain(one) == plain(other)
        if not same:
            items.append(
                {
                    "key": key, "left": shown[0], "right": shown[1], "value": shown[1],
                    "left_origin": _place(of_one), "origin": _place(of_other),
                    "default": plain(_found({}, key)[0]),
                    "censored": shown != [plain(one), plain(other)],
                    "left_from": str(of_one), "right_from": str(of_other),
                }
            )  # fmt: skip
    return items


def _found(side: Values, key: str) -> tuple[Any, Origin]:
    if key in side:
        return side[key]
    return defaults().get(key, (None, Origin("default")))


def _place(origin: Origin) -> dict[str, Any]:
    return {"kind": origin.kind, "path": origin.path, "line": origin.line}


def _complete(ctx: click.Context, param: click.Parameter, begun: str) -> list[Any]:
    words: list[Any] = [word for word in _WORDS if word.startswith(begun)]
    return words + nodes(ctx, begun)


diff = Command(
    "diff",
    callback=_diff,
    params=[
        click.Argument(["left"], metavar="A", shell_complete=_complete),
        click.Argument(["right"], metavar="B", shell_complete=_complete),
        Option(
            ["-t", "--timeout"], type=AtLeast(float, 0.01), default=1.0, metavar="SECONDS",
            help="longest time to wait for a node (default: 1.0)",
        ),
        *list_options(),
    ],
    help="Compare settings of app, default, celery, a file, a node; exit 1 if unequal.",
    examples=(
        "taskctl -A proj config diff app w1@web3",
        "taskctl -A proj config diff default proj/config.py",
    ),
)  # fmt: skip
