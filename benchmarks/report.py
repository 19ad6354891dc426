"""Figures as tables: on a terminal, and as the sections of docs/benchmarks.md."""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path

import psutil

from .rounds import Sample
from .stand import ROOT

DOCUMENT = ROOT / "docs" / "benchmarks.md"


@dataclass
class Claim:
    """A ratio that is promised: `at most` or `at least` a bound."""

    text: str
    ratio: Sample
    at_most: float | None = None
    at_least: float | None = None

    @property
    def kept(self) -> bool:
        """Whether the median keeps it."""
        if self.at_most is not None:
            return self.ratio.median <= self.at_most
        return self.at_least is None or self.ratio.median >= self.at_least

    def __str__(self) -> str:
        word = "at most" if self.at_most is not None else "at least"
        bound = self.at_most if self.at_most is not None else self.at_least
        said = f"{self.text}: {self.ratio.show(2)}"
        return f"{said}; promised {word} {bound:g}: {'kept' if self.kept else 'MISSED'}"


@dataclass
class Figure:
    """One table, how it was got, and what it must show."""

    title: str
    method: str
    columns: list[str]
    rows: list[list[str]]
    rounds: int
    claims: list[Claim] = field(default_factory=list)

    def text(self) -> str:
        """Return it for a terminal."""
        table = [self.columns, *self.rows]
        widths = [max(len(row[i]) for row in table) for i in range(len(self.columns))]
        lines = [self.title, ""]
        lines += ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) for r in table]
        return "\n".join([*lines, "", *map(str, self.claims)]).rstrip() + "\n"

    def markdown(self) -> str:
        """Return it as a section of the document."""
        head = ["| " + " | ".join(row) + " |" for row in [self.columns]]
        rule = "|---|" + "--:|" * (len(self.columns) - 1)
        body = ["| " + " | ".join(row) + " |" for row in self.rows]
        claims = [f"- {claim}" for claim in self.claims]
        measured = f"*{self.rounds} rounds on {date.today()}, {surroundings()}.*"
        parts = [f"## {self.title}", self.method, "\n".join([*head, rule, *body])]
        parts += ["\n".join(claims)] if claims else []
        return "\n\n".join([*parts, measured]) + "\n"


def surroundings() -> str:
    """Return versions and machine in one line."""
    server = subprocess.run(["redis-server", "--version"], capture_output=True, text=True)
    found = re.search(r"v=(\S+)", server.stdout)
    versions = [
        f"taskctl {version('taskctl')}",
        f"Celery {version('celery')} with redis-py {version('redis')}",
        f"redis-server {found[1] if found else '?'}",
        f"Python {platform.python_version()}",
        f"{platform.system()} {platform.release()}",
    ]
    memory = psutil.virtual_memory().total / 2**30
    return f"{', '.join(versions)}; {psutil.cpu_count()} × {processor()}, {memory:.0f} GiB"


def processor() -> str:
    """Return what the processor calls itself."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.machine()
    found = re.search(r"model name\s*:\s*(.+)", text)
    return found[1] if found else platform.machine()


def rewritten(document: str, figures: Iterable[Figure]) -> str:
    """Return the document with these sections renewed, or added at the end."""
    introduction, *sections = re.split(r"^(?=## )", document, flags=re.MULTILINE)
    by_title = {section.partition("\n")[0]: section.rstrip() + "\n" for section in sections}
    for figure in figures:
        by_title[f"## {figure.title}"] = figure.markdown()
    return "\n".join([introduction.rstrip() + "\n", *by_title.values()])
