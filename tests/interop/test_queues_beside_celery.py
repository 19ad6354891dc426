"""Queues that Celery's workers take from: said so, never taken for free."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.inside import Desk
from ..support.waiting import eventually


@pytest.fixture
def shared(
    redis_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Desk]:
    """A Redis with one worker of Celery's on the queue celery."""
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "theirs.log"
    with log.open("wb") as out:
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-b", redis_url, "worker", "-l", "INFO",
             "-P", "solo", "-n", "theirs@h", "--without-gossip", "--without-mingle"],
            cwd=tmp_path, stdout=out, stderr=out, start_new_session=True,
            env={**os.environ, "C_FORCE_ROOT": "1"},
        )  # fmt: skip
    desk = Desk(redis_url, capsys)
    try:
        eventually(lambda: b"theirs@h ready" in log.read_bytes(), within=30)
        yield desk
    finally:
        desk.close()
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait(10)


def test_a_worker_of_celerys_does_not_obey_a_pause_and_keeps_its_queue(shared: Desk) -> None:
    paused = shared.run("queue", "pause", "celery")

    assert paused.code == 3
    assert paused.err == (
        "warning: nodes of Celery's take from 'celery' and cannot obey: theirs@h; tell them:"
        " taskctl control cancel_consumer celery -d theirs@h\n"
    )
    assert shared.broker.paused(), "nodes of ours obey all the same"

    refused = shared.run("queue", "delete", "celery", "-y")

    assert refused.code == 1
    assert "queue 'celery' has 1 consumer: theirs@h; nothing was deleted" in refused.err
