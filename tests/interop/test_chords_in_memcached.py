"""Chords counted in memcached, sent by one product and run by the other.

Celery sends no `celery.chord_unlock` there, and fails a chord whose header was not saved: both
must count in the same number.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celery
import pytest

from taskctl import App
from taskctl import chord as our_chord

BIN = Path(sys.executable).parent
PROJECT = """
from {product} import {kind} as App
app = App("proj", broker={broker!r}, backend={backend!r})

@app.task(name="proj.add")
def add(x, y):
    return x + y

@app.task(name="proj.total")
def total(xs):
    return sum(xs)
"""


@pytest.fixture(params=["celery", "taskctl"])
def worker(
    request: pytest.FixtureRequest, tmp_path: Path, redis_url: str, memcached_url: str
) -> Iterator[str]:
    """A worker of one product; its name."""
    product: str = request.param
    kind = {"celery": "Celery", "taskctl": "App"}[product]
    text = PROJECT.format(product=product, kind=kind, broker=redis_url, backend=memcached_url)
    (tmp_path / "proj.py").write_text(text)
    command = [str(BIN / product), "-A", "proj", "worker", "-c", "1", "-l", "WARNING"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    yield product
    process.terminate()
    process.wait(timeout=60)


def test_a_chord_of_the_other_product_is_joined(
    worker: str, redis_url: str, memcached_url: str
) -> None:
    if worker == "taskctl":
        app: Any = celery.Celery("proj", broker=redis_url, backend=memcached_url)
        chord: Any = celery.chord
    else:
        app = App("proj", broker=redis_url, backend=memcached_url, set_as_current=False)
        chord = our_chord
    header = [app.signature("proj.add", (n, n)) for n in range(4)]

    result = chord(header, app=app)(app.signature("proj.total"))

    assert result.get(timeout=60) == 12
    app.close()
