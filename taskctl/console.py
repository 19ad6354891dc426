"""Where output goes and what it looks like: data on stdout, talk on stderr.

A command asks for a Console and hands it plain rows or documents; the format decides.
Formats: table, wide, plain, name, json, jsonl, celery.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from .failures import usage

if TYPE_CHECKING:
    from .selection import Selection
    from .tables import Column, Row

FORMATS = ("table", "wide", "plain", "name", "json", "jsonl", "celery")

_COLOURS = {"green": "32", "red": "31", "yellow": "33", "blue": "34", "bold": "1", "dim": "2"}
#: Colours of words in a column whose key is `state` or `result`.
WORDS = {
    "ok": "green", "ready": "green", "busy": "yellow", "starting": "yellow", "stopping": "yellow",
    "quiet": "yellow", "stuck": "red", "silent": "red", "error": "red", "FAIL": "red",
}  # fmt: skip


class Console:
    """Draws for one command, in one format.

    `celery_json` is set if `-j` asked for JSON in the shape Celery prints it.
    """

    def __init__(
        self,
        format: str,
        *,
        celery_json: bool = False,
        colour: bool = False,
        quiet: bool = False,
        selection: Selection | None = None,
        out: TextIO | None = None,
        err: TextIO | None = None,
    ) -> None:
        self.format = format
        self.celery_json = celery_json
        self.colour = colour
        self.quiet = quiet
        self.selection = selection
        self.out = out or sys.stdout
        self.err = err or sys.stderr

    # -- talk: stderr

    def note(self, text: str) -> None:
        """Say something on the side, unless quiet."""
        self._talk(f"note: {text}")

    def warn(self, text: str) -> None:
        """Say that something is odd, unless quiet."""
        self._talk(f"warning: {text}")

    def summary(self, text: str) -> None:
        """Say how it went, for people: in tables only, unless quiet."""
        if self.format in ("table", "wide"):
            self._talk(text)

    def _talk(self, text: str) -> None:
        if not self.quiet:
            from taskctl.core.redact import mask_text  # 3 ms, which data does not need

            self.out.flush()
            print(mask_text(text), file=self.err, flush=True)

    # -- data: stdout

    def line(self, text: str = "") -> None:
        """Write one line as it is; lone surrogates as `\\ud800`, which is JSON too."""
        if not text.isascii():
            text = text.encode("utf-8", "backslashreplace").decode()
        print(text, file=self.out)

    def json(self, document: Any) -> None:
        """Write one JSON document."""
        self.line(json.dumps(document, ensure_ascii=False, default=_plain))

    def document(
        self,
        schema: str,
        *,
        ok: bool,
        nodes: Mapping[str, Any] | None = None,
        items: Sequence[Any] | None = None,
        missing: Sequence[str] = (),
        **more: Any,
    ) -> None:
        """Write the native document of a command; `schema` as `inspect.active`."""
        held: dict[str, Any] = {"nodes": nodes} if items is None else {"items": items}
        self.json(
            {"schema": f"taskctl/{schema}/1", "at": now(), "ok": ok, **held,
             "missing": list(missing), **more}
        )  # fmt: skip

    def rows(
        self,
        schema: str,
        columns: Sequence[Column],
        rows: Sequence[Row],
        *,
        ok: bool = True,
        missing: Sequence[str] = (),
        name: str = "",
        wide: Sequence[Column] | None = None,
    ) -> None:
        """Draw a list in whatever format was asked for.

        `name` is the key that `-o name` prints (the first column's by default); `wide` are the
        columns of `-o wide`, if there are more than `columns`. The selection that was asked for
        (--where, --sort, --fields) holds in every format.
        """
        known = wide or columns
        rows = [{key: _safe(value) for key, value in row.items()} for row in rows]
        if self.selection is not None:
            rows, columns, wide = self._select(rows, columns, known)
        pick = (lambda row: row) if self.selection is None else self.selection.pick
        match self.format:
            case "json":
                items = [pick(row) for row in rows]
                self.document(schema, ok=ok, items=items, missing=missing)
            case "jsonl":
                for row in rows:
                    self.json(pick(row))
            case "name":
                self._draw_names(name or columns[0].key, rows)
            case "plain":
                self._draw_plain(wide or columns, rows)
            case "wide":
                self._draw_table(wide or columns, rows, None)
            case _:
                self._draw_table(columns, rows, self.width())
        self.out.flush()

    def _select(
        self, rows: Sequence[Row], columns: Sequence[Column], known: Sequence[Column]
    ) -> tuple[Sequence[Row], Sequence[Column], Sequence[Column]]:
        """Return rows, columns and wide columns as the selection wants them."""
        assert self.selection is not None
        keys = list(dict.fromkeys([c.key for c in known] + [key for row in rows for key in row]))
        self.selection.check_fields(keys)
        rows = self.selection.rows(rows, keys)
        if not self.selection.fields:
            return rows, columns, known
        by_key = {column.key: column for column in known}
        chosen = [by_key.get(key) or field_column(key) for key in self.selection.fields]
        return rows, chosen, chosen

    def width(self) -> int | None:
        """Return the columns of the terminal; None, unlimited, where there is none."""
        if given := os.environ.get("COLUMNS", ""):
            return int(given) if given.isdigit() and int(given) else None
        return terminal_width() if self.out.isatty() else None

    def _draw_names(self, key: str, rows: Sequence[Row]) -> None:
        for name in dict.fromkeys(str(row[key]) for row in rows if row.get(key) is not None):
            self.line(name)

    def _draw_plain(self, columns: Sequence[Column], rows: Sequence[Row]) -> None:
        if self._titled():
            self.line("\t".join(column.key for column in columns))
        for row in rows:
            self.line("\t".join(_raw(_value(row, column.key)) for column in columns))

    def _titled(self) -> bool:
        return self.selection is None or self.selection.header

    def _draw_table(
        self, columns: Sequence[Column], rows: Sequence[Row], width: int | None
    ) -> None:
        from .tables import GAP, lay_out  # 4 ms, for those who draw one

        layout = lay_out(columns, rows, width)
        for number, cells in enumerate(layout.lines):
            if number == 0 and not self._titled():
                continue
            painted = [
                self._paint_word(column, cell) if number else cell
                for column, cell in zip(layout.columns, cells, strict=True)
            ]
            self.line(GAP.join(painted).rstrip())
        if layout.dropped:
            self.note(f"too narrow for {', '.join(layout.dropped)}; -o wide shows all")

    def _paint_word(self, column: Column, cell: str) -> str:
        if column.key not in ("state", "result"):
            return cell
        word = cell.rstrip()
        return self.paint(word, WORDS.get(word, "")) + " " * (len(cell) - len(word))

    def paint(self, text: str, colour: str) -> str:
        """Return a text in a colour, if colours are wanted."""
        if not self.colour or not colour:
            return text
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def choose_format(asked: str | None, piped: str, allowed: Sequence[str] = FORMATS) -> str:
    """Return the format: as asked, else `table` on a terminal and `piped` elsewhere.

    Raises CommandError for one that does not exist, or not here.
    """
    chosen = asked or ("table" if sys.stdout.isatty() else piped)
    if chosen not in FORMATS:
        raise usage(f"-o {chosen}: choose from {', '.join(allowed)}")
    if chosen not in allowed:
        raise usage(f"-o {chosen} does not exist for this command: choose {', '.join(allowed)}")
    return chosen


def wants_colour(when: str | None, stream: TextIO) -> bool:
    """Return whether to colour; `when` is what the options or TASKCTL_COLOR said."""
    if when in ("always", "never"):
        return when == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return os.environ.get("TERM") != "dumb" and stream.isatty()


def terminal_width() -> int:
    """Return the columns of the terminal; 80 if it does not say."""
    for stream in (sys.__stdout__, sys.__stderr__, sys.__stdin__):
        with contextlib.suppress(OSError, AttributeError, ValueError):
            if columns := os.get_terminal_size(stream.fileno()).columns:  # type: ignore[union-attr]
                return columns
    return 80


def now() -> str:
    """Return the time of day as documents bear it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _safe(value: Any) -> Any:
    """Return a value of a row without the secrets in it: those of URLs, and below secret keys."""
    if not isinstance(value, str | list | tuple | Mapping):
        return value
    text = value if isinstance(value, str) else repr(value)
    if "://" not in text and not ("@" in text and ":" in text) and not isinstance(value, Mapping):
        return value
    from taskctl.core.redact import mask  # as above: most rows hold nothing of the kind

    return mask(value)


def field_column(key: str) -> Column:
    """Return the column of a key that no table shows by itself."""
    from .tables import NOTHING, Column

    return Column(key, key.upper(), of_row=lambda row: _raw(_value(row, key)) or NOTHING)


def _value(row: Row, key: str) -> Any:
    """Return a value by its key; a dot leads inside."""
    if key in row or "." not in key:
        return row.get(key)
    # Rows of plain keys, which is nearly all of them, do not wait for this.
    from .conditions import look_up

    return look_up(row, key)


def _raw(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        text = ",".join(value)
    elif isinstance(value, list | dict | tuple):
        text = json.dumps(value, ensure_ascii=False, default=_plain)
    else:
        text = str(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _plain(value: Any) -> Any:
    """Return what JSON makes of a value it does not know."""
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return str(value)
