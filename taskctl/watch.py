"""The same command again and again: `-w`, which redraws on a terminal and appends in a pipe.

A frame is drawn into memory first and put on the terminal in one write, so nothing flickers and
a slow broker leaves the old frame standing. In a pipe a frame is one line of JSON per row.
"""

from __future__ import annotations

import io
import shutil
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import click

from .command import AtLeast, Option
from .complaints import tell
from .console import Console
from .failures import UNAVAILABLE, CommandError, describe

#: Seconds between frames if none are said.
EVERY = 2.0
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


def watch_option() -> click.Parameter:
    """Return the option `-w [SECONDS]`; its value is None if it was not given."""
    return Option(
        ["-w", "--watch"], type=AtLeast(float, 0.1), is_flag=False, flag_value=EVERY,
        metavar="[SECONDS]", help=f"again every SECONDS ({EVERY:g}); redraws on a terminal",
    )  # fmt: skip


def watching(console: Console, every: float | None, draw: Callable[[Console], int]) -> int:
    """Draw once; with `every` again and again until Ctrl-C, which ends with 130.

    `draw` draws one frame on the console it is given and returns the exit code. A frame that
    fails for want of a broker or of answers says so and the next one is tried.
    """
    if every is None:
        return draw(console)
    if not console.out.isatty():
        console.format = "jsonl" if console.format != "json" else console.format
        return _append(console, every, draw)
    return _redraw(console, every, draw)


def _append(console: Console, every: float, draw: Callable[[Console], int]) -> int:
    while True:
        began = time.monotonic()
        try:
            draw(console)
        except Exception as exc:
            tell(_bearable(exc))
        console.out.flush()
        time.sleep(max(0.0, every - (time.monotonic() - began)))


def _redraw(console: Console, every: float, draw: Callable[[Console], int]) -> int:
    sys.stdout.write(_ENTER)
    try:
        while True:
            began = time.monotonic()
            _put(_frame(console, draw, every))
            time.sleep(max(0.0, every - (time.monotonic() - began)))
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()


def _frame(console: Console, draw: Callable[[Console], int], every: float) -> str:
    """Return the text of one frame, talk below data."""
    out, err = _Page(console.out), _Page(console.out)
    page = Console(
        console.format, celery_json=console.celery_json, colour=console.colour,
        quiet=console.quiet, selection=console.selection, out=out, err=err,
    )  # fmt: skip
    try:
        draw(page)
    except Exception as exc:
        error = _bearable(exc)
        err.write("\n".join([f"error: {error.message}", *(f"  {h}" for h in error.hints)]) + "\n")
    head = f"every {every:g} s · {datetime.now():%H:%M:%S} · Ctrl-C ends\n"
    return head + out.getvalue() + err.getvalue()


class _Page(io.StringIO):
    """A frame in the making, as wide as the terminal it is for."""

    def __init__(self, screen: Any) -> None:
        super().__init__()
        self._screen = screen

    def isatty(self) -> bool:
        return bool(self._screen.isatty())


def _put(text: str) -> None:
    # More lines than the screen has would scroll the first ones away.
    height = shutil.get_terminal_size().lines
    lines = text.rstrip("\n").split("\n")[:height]
    sys.stdout.write(_HOME + f"{_REST_OF_LINE}\r\n".join(lines) + _REST_OF_LINE + _REST_OF_SCREEN)
    sys.stdout.flush()


def _bearable(exc: Exception) -> CommandError:
    """Return the error if the next frame may do better; else raise it."""
    error = describe(exc)
    if error is None or error.exit_code != UNAVAILABLE:
        raise exc
    return error
