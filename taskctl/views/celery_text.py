"""Replies of nodes as Celery 5.7 prints them into a pipe, byte for byte.

After celery/bin/base.py (pretty, say_chat) and celery/bin/control.py, without colours, and without
the line of blanks behind each dict that comes from Pygments where that is installed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pprint import pformat
from typing import Any

from taskctl.core.remote.cluster import CommandReply


def reply_lines(
    replies: Iterable[CommandReply], *, bodies: bool = True, quiet: bool = False
) -> Iterator[str]:
    """Yield what is said of each reply; `bodies` shows what is in it."""
    arrow = "" if quiet else "-> "
    for reply in replies:
        status, body = _pretty(reply.value)
        yield f"{arrow} {reply.node}: {status}"
        text = _indent(body)
        if bodies and text:
            yield text


def online(count: int) -> list[str]:
    """Return the lines at the end of `inspect` and `status`."""
    return ["", f"{count} {'node' if count == 1 else 'nodes'} online."]


def _pretty(value: Any) -> tuple[str, str]:
    if isinstance(value, list):
        return "OK", "\n".join(f"* {item}" for item in value) if value else "- empty -"
    if isinstance(value, dict):
        if "ok" in value:
            return "OK", _indent(_pretty(value["ok"])[1])
        if "error" in value:
            return "ERROR", _indent(_pretty(value["error"])[1])
        return "OK", json.dumps(value, sort_keys=True, indent=4)
    if isinstance(value, str):
        return "OK", value
    return "OK", pformat(value)


def _indent(text: str) -> str:
    return "\n".join("    " + line for line in text.split("\n"))
