"""A pytest plugin that writes what the matrix found into docs/interop.md: `make interop`.

python -m pytest -p tests.interop.matrix.table --interop-table docs/interop.md tests/interop
"""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

#: Columns: (broker, [(client, worker), ...]).
PAIRS = [(c, w) for c in ("celery", "taskctl") for w in ("celery", "taskctl")]
BROKERS = {"redis": "Redis", "rabbitmq": "RabbitMQ"}
NAMES = {"celery": "Celery", "taskctl": "taskctl"}

HEAD = """\
# Interoperation with Celery

<!-- Written by `make interop`; do not edit. -->

What a client of one library and a worker of the other do together, run for real: each cell is a
test of `tests/interop/` that sends the call, waits for what must come of it and compares. An arrow
points from the client to the worker. Where the cell between Celery and Celery fails too, the
others are left out, and the reason stands below the table.

Run on {date} with {versions}.
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--interop-table", metavar="FILE", help="write what the matrix found to FILE")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--interop-table")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Table(Path(path)))


class Table:
    """What came of each cell, in the order of the rows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        #: (table, row) -> {(client, worker, broker): word}
        self._rows: dict[tuple[str, str], dict[tuple[str, str, str], str]] = {}
        self._reasons: dict[str, None] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        cell = dict(report.user_properties).get("cell")
        if not isinstance(cell, list | tuple) or report.when == "teardown":
            return
        name, client, worker, broker, table = cell
        row = self._rows.setdefault((table, name), {})
        if report.when == "call" or report.outcome != "passed":
            row[client, worker, broker] = self._word(report, name)

    def _word(self, report: pytest.TestReport, name: str) -> str:
        if report.outcome == "skipped":
            told: Any = report.longrepr
            reason = str(told[2]).removeprefix("Skipped: ")
            self._reasons[f"{name}: {reason}"] = None
            return "–"
        return "yes" if report.outcome == "passed" else "**fails**"

    def pytest_sessionfinish(self) -> None:
        if self._rows:
            self._path.write_text(self._text(), encoding="utf-8")

    def _text(self) -> str:
        parts = [HEAD.format(date=datetime.date.today().isoformat(), versions=_versions())]
        for table in sorted({table for table, _ in self._rows}, reverse=True):
            rows = {name: cells for (of, name), cells in self._rows.items() if of == table}
            brokers = [
                b for b in BROKERS if any(b in key for cells in rows.values() for key in cells)
            ]
            for broker in brokers:
                parts.append(f"## {table} on {BROKERS[broker]}\n")
                parts.append(_table(broker, rows))
        if self._reasons:
            parts.append("## Left out\n")
            parts.append("\n".join(f"- {reason}" for reason in self._reasons) + "\n")
        return "\n".join(parts)


def _table(broker: str, rows: dict[str, dict[tuple[str, str, str], str]]) -> str:
    titles = [f"{NAMES[client]} → {NAMES[worker]}" for client, worker in PAIRS]
    lines = [_line(["", *titles]), _line(["---", *["---"] * len(titles)])]
    for name, cells in rows.items():
        words = [cells.get((client, worker, broker), "") for client, worker in PAIRS]
        if any(words):
            lines.append(_line([name, *words]))
    return "\n".join(lines) + "\n"


def _line(words: Iterable[str]) -> str:
    return "| " + " | ".join(words) + " |"


def _versions() -> str:
    version = importlib.metadata.version
    return (
        f"Celery {version('celery')}, kombu {version('kombu')}, taskctl {version('taskctl')}, "
        f"Python {platform.python_version()}"
    )
