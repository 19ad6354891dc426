"""Draw what the doctor found: a line each, the cure below it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from taskctl.console import Console
from taskctl.tables import Column, Row, folded

_COLUMNS = (
    Column("check", "CHECK"),
    Column("state", "STATE"),
    Column("message", "MESSAGE"),
    Column("cure", "CURE"),
    Column("seconds", "SECONDS", right=True),
)
_COLOURS = {"ok": "green", "warn": "yellow", "FAIL": "red", "skip": "dim"}
#: Checks that are listed even if all is well with them.
_ALWAYS = ("app", "broker")
#: Columns in front of a message.
_HEAD = 16


class Report:
    """Draws findings as they come, where the format allows it; `every`: what is well too."""

    def __init__(self, console: Console, *, every: bool) -> None:
        self.console = console
        self.every = every
        chosen = console.selection
        picky = chosen is not None and bool(chosen.where or chosen.sort or chosen.fields)
        self.as_it_comes = console.format == "table" and not picky

    def tell(self, row: Row) -> None:
        """Draw one finding on a terminal at once: a doctor who is slow should not be silent."""
        if not self.as_it_comes:
            return
        quiet = row["state"] == "skip" or (row["state"] == "ok" and row["check"] not in _ALWAYS)
        if quiet and not self.every:
            return
        console = self.console
        state = console.paint(row["state"], _COLOURS[row["state"]]) + " " * (4 - len(row["state"]))
        first, *others = folded(row["message"], console.width(), _HEAD)
        console.line(f"{state}  {row['check']:<9} {first}")
        for line in others:
            console.line(" " * _HEAD + line)
        if row["cure"]:
            console.line(f"      cure: {row['cure']}")
        console.out.flush()

    def end(self, rows: Sequence[Row]) -> None:
        """Draw all of them in the other formats, and count."""
        ok = all(row["state"] != "FAIL" for row in rows)
        if not self.as_it_comes:
            self.console.rows("doctor", _COLUMNS, rows, ok=ok)
        count = Counter(row["state"] for row in rows)
        told = [f"{count['ok']} ok"]
        told += [f"{count['warn']} doubtful"] if count["warn"] else []
        told += [f"{count['FAIL']} failed"] if count["FAIL"] else []
        told += [f"{count['skip']} skipped"] if count["skip"] else []
        more = "" if self.every else " (-v lists all)"
        self.console.summary(", ".join(told) + more)
