"""`graph workers` draws what Celery 5.7 draws, byte for byte, where Celery draws it right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ..support.shell import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        ["nodes:a,b", "threads:2,3", "backend:redis://x", "broker:amqp://y"],
        ["nodes:a,b,c,d,e,f", "threads:2,3,9,4,5,6", "enumerate:1", "generic:1",
         "broker:memory://", "backend:"],
    ],
)  # fmt: skip
def test_the_graph_of_named_nodes_is_celerys(
    words: list[str], shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "theirs.py").write_text("from celery import Celery\napp = Celery()\n")

    theirs = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "theirs", "graph", "workers", *words],
        capture_output=True, text=True, cwd=tmp_path, timeout=60,
    )  # fmt: skip
    ours = shell.run("graph", "workers", *words)

    assert theirs.stdout.startswith("digraph")
    assert ours.out == theirs.stdout
