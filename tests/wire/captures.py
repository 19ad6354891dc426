"""What the golden captures hold, picked out by shape."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).parent.parent / "golden"


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every JSON object inside `value`, outermost first."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _objects(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _objects(inner)


def _everywhere() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(GOLDEN.glob("*.json")):
        for number, found in enumerate(_objects(json.loads(path.read_text()))):
            yield f"{path.stem}-{number}", found


def envelopes() -> list[Any]:
    """Return (envelope, decoded body) of every captured message, as parameters."""
    return [
        pytest.param(found["envelope"], found.get("body_decoded"), id=name)
        for name, found in _everywhere()
        if isinstance(found.get("envelope"), dict) and "body" in found["envelope"]
    ]


def metas() -> list[Any]:
    """Return every captured result meta, as parameters."""
    return [
        pytest.param(found, id=name)
        for name, found in _everywhere()
        if {"status", "result", "task_id", "children"} <= found.keys()
        and "id" not in found  # that is a row of a database
    ]
