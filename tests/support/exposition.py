"""Read the text format of Prometheus 0.0.4, strictly: what cannot be read fails the test.

The grammar is that of prometheus.io/docs/instrumenting/exposition_formats.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_SAMPLE = re.compile(rf"({_NAME})(?:\{{(.*)\}})? (\S+)", re.DOTALL)
_PAIR = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\n"])*)"(?:,|$)')
_COMMENT = re.compile(
    rf"# (?:HELP {_NAME} .*|TYPE {_NAME} (?:counter|gauge|histogram|summary|untyped))"
)
_ESCAPES = {"\\\\": "\\", "\\n": "\n", '\\"': '"'}


class Sample(NamedTuple):
    name: str
    labels: dict[str, str]
    value: float


def samples(text: str, name: str | None = None) -> list[Sample]:
    """Return the samples of a page, or those of one name."""
    found = [_sample(line) for line in _lines(text) if not line.startswith("#")]
    return [sample for sample in found if name in (None, sample.name)]


def families(text: str) -> dict[str, str]:
    """Return the kind of every family, by name."""
    return dict(line.split()[2:4] for line in _lines(text) if line.startswith("# TYPE "))


def _lines(text: str) -> list[str]:
    assert text.endswith("\n"), "the last line must end"
    lines = text[:-1].split("\n")
    for line in lines:
        assert not line.startswith("#") or _COMMENT.fullmatch(line), line
    return lines


def _sample(line: str) -> Sample:
    match = _SAMPLE.fullmatch(line)
    assert match, line
    rest, labels = match[2] or "", {}
    while rest:
        pair = _PAIR.match(rest)
        assert pair, line
        labels[pair[1]] = re.sub(r"\\.", lambda found: _ESCAPES[found[0]], pair[2])
        rest = rest[pair.end() :]
    return Sample(match[1], labels, float(match[3]))
