"""Options that the user's app adds to its workers: `app.user_options["worker"]`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from taskctl.apps import user_app
from taskctl.context import Context

from .worker_options import Option

_GROUP = "Options of the app"


def options_of_app(words: Sequence[str], context: Context) -> list[Option]:
    """Return what the app of a `multi` line adds; nothing if the line has no app.

    Raises AppNotFound.
    """
    spec = _app_of(words) or context.app_spec
    if spec is None:
        return []
    context.put("app", spec)
    wanted = getattr(user_app(context), "user_options", None) or {}
    found = [*wanted.get("preload", ()), *wanted.get("worker", ())]
    return [_option(one) for one in found if isinstance(one, click.Option)]


def _app_of(words: Sequence[str]) -> str | None:
    """Return the last app that the words name, before they are understood."""
    spec = None
    for position, word in enumerate(words):
        if word == "--":
            break
        if word in ("-A", "--app") and position + 1 < len(words):
            spec = words[position + 1]
        elif word.startswith("--app="):
            spec = word.removeprefix("--app=")
        elif word.startswith("-A") and len(word) > 2:
            spec = word[2:]
    return spec


def _option(option: Any) -> Option:
    names = tuple([*option.opts, *option.secondary_opts])
    if not any(name.startswith("--") for name in names):
        names = (*names, f"--{option.name}")
    kind = "flag" if option.is_flag or option.count else "text"
    return Option(names, kind, _GROUP, option.help or "")
