"""Remote control across: Celery's command line steers our worker, our client a Celery worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from ..support.servers import RedisServer
from ..support.waiting import eventually
from ..support.workers import Farm

#: A module of a Celery app: both its command line and its worker import it.
APP = """
import time
from celery import Celery

app = Celery("theirs", broker={url!r}, backend={url!r})
app.conf.broker_connection_retry_on_startup = True

@app.task(name="theirs.add")
def add(x, y):
    return x + y

@app.task(name="theirs.nap")
def nap(seconds):
    time.sleep(seconds)
"""


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Farm]:
    """Our node w1 and Celery's node theirs, on one Redis, and Celery's app beside them."""
    folder = tmp_path_factory.mktemp("control")
    url = redis_server.url.removesuffix("/0") + "/60"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    (folder / "theirs.py").write_text(APP.format(url=url))
    farm = Farm(folder, url)
    words = "worker -l INFO -c 1 -n theirs@test -Q theirs --without-gossip --without-mingle".split()
    with open(folder / "theirs.log", "wb") as log:
        celery = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "theirs", *words],
            cwd=folder,
            stdout=log,
            stderr=log,
            env={**os.environ, "C_FORCE_ROOT": "1"},
            start_new_session=True,
        )
    try:
        farm.start().ready()
        eventually(lambda: b"ready" in (folder / "theirs.log").read_bytes(), within=30)
        yield farm
    finally:
        farm.close()
        os.killpg(celery.pid, signal.SIGKILL)
        celery.wait(10)


def celery_says(folder: Path, *words: str) -> Any:
    """Run Celery's command line against our node; return the JSON it prints."""
    options = ["-d", "w1@test", "--json", "--timeout", "3"]
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "theirs", *words, *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return json.loads(done.stdout)


def test_celerys_inspect_reads_our_node(farm: Farm) -> None:
    running = farm.send("mark", "running", 6.0)
    eventually(lambda: farm.runs()["running"])

    active = celery_says(farm.folder, "inspect", "active")["w1@test"]
    stats = celery_says(farm.folder, "inspect", "stats")["w1@test"]
    registered = celery_says(farm.folder, "inspect", "registered")["w1@test"]
    pong = celery_says(farm.folder, "inspect", "ping")

    assert pong == {"w1@test": {"ok": "pong"}}
    assert [(task["id"], task["name"]) for task in active] == [(running.id, "trial.mark")]
    assert stats["pid"] == farm.nodes[0].pid
    assert stats["total"]["trial.mark"] == 1
    assert "trial.add" in registered


def test_celerys_control_steers_our_node(farm: Farm) -> None:
    limited = celery_says(farm.folder, "control", "rate_limit", "trial.add", "10/m")
    grown = celery_says(farm.folder, "control", "pool_grow", "1")

    assert limited[0]["w1@test"]["ok"] == "new rate limit set successfully"
    assert (limited[0]["w1@test"]["old"], limited[0]["w1@test"]["new"]) == (None, "10/m")
    assert grown[0]["w1@test"]["ok"] == "pool will grow"
    eventually(lambda: len(farm.nodes[0].children()) == 3)


def test_our_client_asks_and_steers_a_celery_worker(farm: Farm) -> None:
    control = farm.app.control
    theirs = ["theirs@test"]
    nap = farm.app.send_task("theirs.nap", [3], queue="theirs")

    inspect = control.inspect(theirs, timeout=5)
    active = eventually(lambda: inspect.active()["theirs@test"])

    assert [task["id"] for task in active] == [nap.id]
    assert "theirs.add" in inspect.registered()["theirs@test"]
    assert inspect.stats()["theirs@test"]["pool"]["max-concurrency"] == 1
    assert control.ping(theirs, timeout=5) == [{"theirs@test": {"ok": "pong"}}]
    assert control.rate_limit("theirs.add", "5/m", destination=theirs, reply=True, timeout=5) == [
        {"theirs@test": {"ok": "new rate limit set successfully"}}
    ]
    control.revoke(nap.id, destination=theirs, terminate=True, reply=True, timeout=5)
    eventually(lambda: farm.app.AsyncResult(nap.id).state == "REVOKED")


def test_both_kinds_of_node_answer_one_question(farm: Farm) -> None:
    answer = farm.app.control.cluster.ask("ping", timeout=2.0, wait_for_all=True)

    assert [reply.node for reply in answer.replies] == ["theirs@test", "w1@test"]
