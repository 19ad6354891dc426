"""Events across: we read a Celery worker's, Celery reads ours, and both states say the same."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.events.dumper import Dumper
from celery.events.state import State as CeleryState
from hypothesis import given
from hypothesis import strategies as st

from taskctl import App
from taskctl.core.remote.event_state import State
from taskctl.views.events import CeleryDump

from ..support.waiting import eventually
from .conftest import Place

PROJECT = """\
from {package} import {cls}

app = {cls}("proj", broker={url!r}, backend={backend!r}, task_send_sent_event=True,
            task_default_queue={name!r}, broker_connection_retry_on_startup=True)

@app.task(name="proj.add", bind=True)
def add(self, x, y):
    self.send_event("task-progress", done=50)
    return x + y

@app.task(name="proj.fail")
def fail():
    raise ValueError("boom")

@app.task(name="proj.again", bind=True, max_retries=1)
def again(self):
    raise self.retry(countdown=0, exc=KeyError("k")) if not self.request.retries else ValueError

@app.task(name="proj.reject", bind=True, acks_late=True)
def reject(self):
    from {package}.exceptions import Reject
    raise Reject("no", requeue=False)
"""
#: What both workers send for a task's life.
LIVES = {
    "proj.add": ["task-received", "task-started", "task-progress", "task-succeeded"],
    "proj.fail": ["task-received", "task-started", "task-failed"],
}


class Pair:
    """A worker of Celery and one of ours on one broker, each with a queue and a project."""

    def __init__(self, folder: Path, url: str, backend: str) -> None:
        self.folder = folder
        names = ("TASKCTL_", "CELERY_")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(names)}
        self.env["TASKCTL_RUN_DIR"] = str(folder / "run")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        for name, package, cls in (("theirs", "celery", "Celery"), ("ours", "taskctl", "App")):
            text = PROJECT.format(package=package, cls=cls, url=url, backend=backend, name=name)
            (folder / f"{name}.py").write_text(text)
        self.app = App("watcher", broker=url, set_as_current=False)

    def start(self) -> None:
        self._start("theirs", "celery", "-P", "prefork", "--without-gossip", "--without-mingle")
        self._start("ours", "taskctl")
        for name in self.processes:
            log = self.folder / f"{name}.log"
            eventually(lambda log=log: b"ready" in log.read_bytes(), within=30)

    def _start(self, name: str, package: str, *words: str) -> None:
        worker = ["worker", "-E", "-n", f"{name}@h", "-c", "1", "-l", "INFO", *words]
        self.processes[name] = self.run(package, "-A", name, *worker, log=f"{name}.log")

    def run(self, package: str, *words: str, log: str) -> subprocess.Popen[bytes]:
        with open(self.folder / log, "wb") as out:
            return subprocess.Popen(
                [sys.executable, "-m", package, *words],
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**self.env, "C_FORCE_ROOT": "1", "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )

    def call(self, name: str, *tasks: str) -> None:
        """Call tasks of a project as its users do."""
        calls = "; ".join(f"m.{t}.delay({'2, 3' if t == 'add' else ''})" for t in tasks)
        line = f"import {name} as m; {calls}"
        subprocess.run([sys.executable, "-c", line], cwd=self.folder, env=self.env, check=True)

    def hear(self, act: Callable[[], None], enough: Callable[[list[Any]], bool]) -> list[Any]:
        """Return the events from when `act` begins until there are enough."""
        events: list[dict[str, Any]] = []
        with self.app.connection() as connection:
            receiver = self.app.events.Receiver(connection, {"*": events.append})
            connection.broker.listen("celeryev", "#")
            act()
            deadline = time.monotonic() + 20
            while not enough(events) and time.monotonic() < deadline:
                receiver.capture(limit=1, timeout=20, wakeup=False)
        assert enough(events), events
        return events

    def close(self) -> None:
        for process in self.processes.values():
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        self.app.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, place: Place) -> Iterator[Pair]:
    """Both workers, on a broker of each kind."""
    pair = Pair(tmp_path_factory.mktemp("events"), place.url, place.backend)
    try:
        pair.start()
        yield pair
    finally:
        pair.close()


def lives(events: list[Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the events of each task by its name, in order of their time."""
    names = {e["uuid"]: e["name"] for e in events if "name" in e}
    found: dict[str, list[dict[str, Any]]] = {}
    for event in sorted(events, key=lambda e: float(e["timestamp"])):
        if "uuid" in event:
            found.setdefault(names[event["uuid"]], []).append(event)
    return found


def ended(*names: str) -> Callable[[list[Any]], bool]:
    """Return whether so many tasks have ended, and their client has told of its calls."""
    ends = ("task-succeeded", "task-failed", "task-rejected")

    def enough(events: list[Any]) -> bool:
        types = [event["type"] for event in events]
        return min(sum(t in ends for t in types), types.count("task-sent")) >= len(names)

    return enough


@pytest.mark.parametrize("name", ["theirs", "ours"])
def test_both_workers_tell_a_life_in_the_same_events(pair: Pair, name: str) -> None:
    heard = lives(pair.hear(lambda: pair.call(name, "add", "fail"), ended("add", "fail")))

    # The client tells of its call once it is made, at the same time as the worker of its receipt.
    assert all("task-sent" in [e["type"] for e in events] for events in heard.values())
    told = {t: [e["type"] for e in es if e["type"] != "task-sent"] for t, es in heard.items()}
    assert told == LIVES
    # The client's own event may come after the node's first.
    of_node = [event for event in heard["proj.add"] if event["type"] != "task-sent"]
    assert {event["hostname"] for event in of_node} == {f"{name}@h"}


def test_our_events_have_the_fields_of_celerys(pair: Pair) -> None:
    tasks = ("add", "fail", "again", "reject")
    fields: dict[str, dict[str, set[str]]] = {}
    for name in ("theirs", "ours"):
        events = pair.hear(lambda name=name: pair.call(name, *tasks), ended(*tasks))  # type: ignore[misc]
        events += pair.hear(pair.app.control.heartbeat, lambda found: len(found) >= 2)
        fields[name] = {}
        for event in events:
            if event["hostname"] == f"{name}@h" or event["type"] == "task-sent":
                fields[name].setdefault(event["type"], set(event))

    ours, theirs = fields["ours"], fields["theirs"]
    assert {"task-retried", "task-rejected", "worker-heartbeat", "task-progress"} <= set(ours)
    # Celery's heartbeat on demand says less than its others; ours says all.
    assert theirs.pop("worker-heartbeat") <= ours["worker-heartbeat"]
    assert {kind: ours.get(kind) for kind in theirs} == theirs


def test_our_state_reads_a_celery_worker(pair: Pair) -> None:
    state = pair.app.events.State()

    for event in pair.hear(lambda: pair.call("theirs", "add", "fail"), ended("add", "fail")):
        state.event(event)

    (added,) = state.tasks_by_type["proj.add"]
    (failed,) = state.tasks_by_type["proj.fail"]
    assert (added.state, added.result, added.args) == ("SUCCESS", "5", "(2, 3)")
    assert (failed.state, failed.exception) == ("FAILURE", "ValueError('boom')")
    assert "Traceback" in str(failed.traceback)
    assert added.worker is not None and added.worker.hostname == "theirs@h"


@pytest.mark.parametrize("program", ["celery", "taskctl"])
def test_celerys_dump_and_ours_read_our_node(pair: Pair, program: str) -> None:
    app = "theirs" if program == "celery" else "ours"
    log = pair.folder / f"{program}-dump.log"
    dump = pair.run(program, "-A", app, "events", "--dump", log=log.name)
    try:
        eventually(lambda: "ours@h [" in log.read_text(), within=20)
        pair.call("ours", "add")
        eventually(lambda: "task succeeded: proj.add(" in log.read_text(), within=20)
    finally:
        os.killpg(dump.pid, signal.SIGKILL)
        dump.wait(10)

    head, start, body = log.read_text().partition("-> evdump: starting capture...\n")
    lines = body.splitlines()
    assert start and (program == "celery" or not head)  # Celery's click has a warning to say
    stamp = r"\S+ \[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\+00:00\] "
    assert all(re.match(stamp, line) for line in lines), lines
    (line,) = [line for line in lines if "task succeeded" in line]
    assert re.search(r"task succeeded: proj\.add\([0-9a-f-]+\) args=\(2, 3\) kwargs=\{\} ", line)


def test_a_celery_node_is_seen_by_top_and_by_events(pair: Pair) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "taskctl", "-A", "ours", "top", "--once", "-t", "3"],
        capture_output=True,
        text=True,
        cwd=pair.folder,
        env=pair.env,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert {"ours@h", "theirs@h"} <= {line.split()[0] for line in done.stdout.splitlines() if line}


# -- the same events, both readers


TYPES = "sent received started succeeded failed retried revoked rejected progress".split()
TASK_EVENT = st.fixed_dictionaries(
    {
        "type": st.sampled_from([f"task-{name}" for name in TYPES]),
        "uuid": st.sampled_from("abc"),
        "hostname": st.sampled_from(["w1@h", "w2@h"]),
        "timestamp": st.floats(1e9, 2e9),
        "local_received": st.just(1.5e9),
        "clock": st.integers(1, 99),
        "pid": st.just(7),
    },
    optional={
        "name": st.sampled_from(["add", "mul"]),
        "args": st.sampled_from(["(1,)", "(2,)"]),
        "result": st.sampled_from(["1", "2"]),
        "exception": st.just("E()"),
        "done": st.integers(),
    },
)
COMPARED = (
    "name", "state", "args", "result", "exception", "sent", "received", "started", "succeeded",
    "failed", "retried", "revoked", "rejected", "client", "done",
)  # fmt: skip


@given(st.lists(TASK_EVENT, max_size=12))
def test_both_states_make_the_same_of_the_same_events(events: list[dict[str, Any]]) -> None:
    ours, theirs = State(), CeleryState()

    for event in events:
        ours.event(dict(event))
        theirs.event(dict(event))

    for uuid, task in theirs.tasks.items():
        mine = ours.tasks[uuid]
        for name in COMPARED:
            assert getattr(mine, name, None) == getattr(task, name, None), (uuid, name)
        assert (mine.worker and mine.worker.hostname) == (task.worker and task.worker.hostname)
    assert set(ours.tasks) == set(theirs.tasks)
    assert (ours.event_count, ours.task_count) == (theirs.event_count, theirs.task_count)


@given(st.lists(TASK_EVENT.filter(lambda e: {"name", "args"} <= set(e)), max_size=8))
def test_both_dumps_write_the_same_lines(events: list[dict[str, Any]]) -> None:
    lines: list[str] = []
    theirs, ours = Dumper(), CeleryDump()
    theirs.say = lines.append
    full = [{**event, "kwargs": "{}"} for event in events]
    full.append({"type": "worker-online", "hostname": "w1@h", "timestamp": 1e9, "freq": 2.0})

    # Celery keeps the names for all its dumps.
    from celery.events import dumper

    dumper.TASK_NAMES.clear()
    for event in full:
        theirs.on_event(dict(event))

    assert [ours.line(event) for event in full] == lines
