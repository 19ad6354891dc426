"""Values on the command line of `worker`: click types, and settings as `key=value`."""

from __future__ import annotations

import ast
import difflib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from taskctl.command import AtLeast, BadValue, Option
from taskctl.core.app import App
from taskctl.core.config import Origin
from taskctl.core.errors import ImproperlyConfigured, SettingError
from taskctl.core.worker.autoscaler import parse_autoscale
from taskctl.core.worker.listener import Address, parse_address
from taskctl.failures import usage

from . import worker_options


class Concurrency(click.ParamType):  # type: ignore[type-arg]
    """A whole number of children, or `auto`; 0 stands for the setting."""

    name = "number"

    def convert(self, value: Any, param: Any, ctx: Any) -> int | str | None:
        if str(value).lower() == "auto":
            return "auto"
        if not str(value).isdecimal():
            raise BadValue(value, "whole number or 'auto' expected", ctx, param)
        return int(value) or None


class Autoscale(click.ParamType):  # type: ignore[type-arg]
    """MAX,MIN in any order, or MAX alone."""

    name = "limits"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        try:
            return parse_autoscale(value)
        except ImproperlyConfigured:
            text = "MAX,MIN as whole numbers expected, for example 10,2"
            raise BadValue(value, text, ctx, param) from None


class ListenAddress(click.ParamType):  # type: ignore[type-arg]
    """host:port, :port for this host alone, or unix:/path."""

    name = "address"

    def convert(self, value: Any, param: Any, ctx: Any) -> Address:
        if isinstance(value, Address):
            return value
        try:
            return parse_address(value)
        except ImproperlyConfigured as exc:
            self.fail(str(exc), param, ctx)


class Word(click.ParamType):  # type: ignore[type-arg]
    """One of a few words, in any letter case."""

    name = "word"

    def __init__(self, choices: Sequence[str]) -> None:
        self.choices = choices

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        found = next((word for word in self.choices if word.lower() == value.lower()), None)
        if found is None:
            near = difflib.get_close_matches(value.lower(), map(str.lower, self.choices), 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            text = f"choose {', '.join(self.choices)}{meant}"
            raise BadValue(value, text, ctx, param)
        return found

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[CompletionItem[str]]:
        begun = incomplete.lower()
        return [CompletionItem(word) for word in self.choices if word.lower().startswith(begun)]


class Names(click.ParamType):  # type: ignore[type-arg]
    """Names with commas between them."""

    name = "list"

    def convert(self, value: Any, param: Any, ctx: Any) -> list[str]:
        if isinstance(value, list):
            return value
        return [part.strip() for part in value.split(",") if part.strip()]


def click_option(row: worker_options.Option) -> click.Option:
    """Return the click option of a row of the table."""
    settings: dict[str, Any] = {"group": row.group, "help": row.help}
    if row.default is not None:
        settings["help"] += f" (default: {row.default})"
    if not row.takes_value:
        # Left out it is None, so that the setting holds.
        return Option(row.names, is_flag=True, default=None, **settings)
    kinds: dict[str, Any] = {
        "int": AtLeast(int, 0),
        "float": AtLeast(float, 0),
        "concurrency": Concurrency(),
        "autoscale": Autoscale(),
        "address": ListenAddress(),
        "list": Names(),
    }
    if row.kind == "choice":
        settings["type"] = Word(row.choices)
    else:
        settings["type"] = kinds.get(row.kind, click.STRING)
    if row.kind == "path":
        settings["shell_complete"] = _files
    return Option(row.names, metavar=row.metavar, **settings)


def _files(ctx: Any, param: Any, incomplete: str) -> list[CompletionItem[str]]:
    """Let the shell complete the name of a file."""
    return [CompletionItem(incomplete, type="file")]


# -- settings as words: `worker_prefetch_multiplier=2`, `.prefetch_multiplier=(int)2`

_WORD = re.compile(r"(?P<key>[A-Za-z_.][\w.]*)=(?:\((?P<cast>\w+)\))?(?P<value>.*)", re.DOTALL)
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def _bool(text: str) -> bool:
    if text.lower() not in (*_TRUE, *_FALSE):
        raise ValueError("yes or no expected")
    return text.lower() in _TRUE


def _literal(kind: type) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        value = ast.literal_eval(text)
        if not isinstance(value, kind):
            raise ValueError(f"a {kind.__name__} expected")
        return value

    return read


#: What `(TYPE)` in front of a value makes of it; the names are Celery's.
CASTS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "bool": _bool,
    "string": str,
    "str": str,
    "dict": _literal(dict),
    "list": _literal(list),
    "tuple": _literal(tuple),
    "json": json.loads,
    "any": ast.literal_eval,
}


def apply_overrides(app: App, words: Iterable[str]) -> None:
    """Let settings given as `key=value` win over all others.

    Raises CommandError naming the word that is wrong.
    """
    app.conf.read()
    for word in words:
        match = _WORD.fullmatch(word)
        if match is None:
            raise usage(
                f"{word!r}: an option or key=value expected",
                "example: taskctl worker worker_prefetch_multiplier=1",
            )
        key, value = _full_key(match["key"]), _cast(word, match["cast"], match["value"])
        try:
            app.conf.explain(key)
            app.conf.override({key: value}, Origin("cli", word))
        except SettingError as exc:
            raise usage(str(exc) if word in str(exc) else f"{word}: {exc}") from exc


def _full_key(key: str) -> str:
    """Return `worker_x` for `.x`, `_x` and `worker.x`."""
    full = key.replace(".", "_")
    return f"worker{full}" if full.startswith("_") else full


def _cast(word: str, cast: str | None, text: str) -> Any:
    if cast is None:
        return text
    if cast not in CASTS:
        raise usage(f"{word}: no type {cast!r}", f"choose from {', '.join(CASTS)}")
    try:
        return CASTS[cast](text)
    except (ValueError, SyntaxError) as exc:
        raise usage(f"{word}: {text!r} is no {cast}: {exc}") from exc
