"""Peers that answer nonsense, and elections beside Celery: clear lines, and nothing breaks."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from taskctl import App
from taskctl.core.wire.message import encode_envelope
from taskctl.program import run

from ..support.mixed import Mixed
from ..support.waiting import eventually

NODE = "odd@h"


class Peer(threading.Thread):
    """Hears commands as a worker does, and says what `answers` makes of each request."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.client = redis.Redis.from_url(url)
        self.channel = f"/{url.rpartition('/')[2]}.celery.pidbox"
        self.answers: Callable[[dict[str, Any]], list[bytes]] = lambda request: []
        self.over = threading.Event()
        self.ears = self.client.pubsub()
        self.ears.psubscribe(self.channel)
        assert self.ears.get_message(timeout=10)
        self.start()

    def run(self) -> None:
        while not self.over.is_set():
            message = self.ears.get_message(timeout=0.05)
            if message and message["type"] == "pmessage":
                envelope = json.loads(message["data"])
                request = json.loads(base64.b64decode(envelope["body"]))
                if request.get("reply_to"):
                    key = f"{request['reply_to']['routing_key']}.reply.celery.pidbox"
                    for answer in self.answers(request):
                        self.client.lpush(key, answer)

    def close(self) -> None:
        self.over.set()
        self.join()
        self.ears.close()
        self.client.close()


def reply(request: dict[str, Any], body: Any, **headers: Any) -> bytes:
    """Return an envelope as Celery's nodes send them, with any body."""
    return encode_envelope(
        body if isinstance(body, bytes) else json.dumps(body).encode(),
        content_type="application/json",
        content_encoding="utf-8",
        headers={"ticket": request.get("ticket"), "clock": 3, **headers},
        properties={"delivery_mode": 1},
        exchange="reply.celery.pidbox",
        routing_key=request["reply_to"]["routing_key"],
    )


@pytest.fixture
def peer(redis_url: str) -> Iterator[Peer]:
    peer = Peer(redis_url)
    yield peer
    peer.close()


@pytest.fixture
def app(redis_url: str) -> Iterator[App]:
    app = App("asker", broker=redis_url, set_as_current=False)
    yield app
    app.close()


GOOD = {NODE: {"ok": "pong"}}
UNREADABLE: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "no envelope": lambda request: b"\xff\x00 what?",
    "an array": lambda request: b"[1, 2]",
    "an empty object": lambda request: b"{}",
    "a body that is no base64": lambda request: (
        b'{"body": "%%", "headers": {}, "properties": {"body_encoding": "base64"}}'
    ),
    "a body that is no JSON": lambda request: reply(request, b"{no json"),
    "a body that is an array": lambda request: reply(request, [GOOD]),
    "a body that is text": lambda request: reply(request, "pong"),
    "a type nobody accepts": lambda request: reply(request, GOOD).replace(b"/json", b"/x-python"),
    "headers that are none": lambda request: b'{"body": "e30=", "headers": 5, "properties": {}}',
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_reply_that_cannot_be_read_is_dropped_with_a_line(
    app: App, peer: Peer, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    peer.answers = lambda request: [UNREADABLE[kind](request), reply(request, GOOD)]

    assert app.control.ping(timeout=5.0) == [GOOD]

    (record,) = [r for r in caplog.records if r.name.startswith("taskctl")]
    assert record.getMessage().startswith("remote control: dropped a reply: ")
    assert "\n" not in record.getMessage() and record.exc_info is None


def test_a_reply_to_another_question_is_not_taken_for_ours(app: App, peer: Peer) -> None:
    peer.answers = lambda request: [
        reply(request, {"other@h": {"ok": "pong"}}, ticket="of another"),
        reply(request, {"third@h": {"ok": "pong"}}, ticket=5),
        reply(request, GOOD, clock="late"),
    ]

    assert app.control.ping(timeout=5.0) == [GOOD]


def test_a_node_that_answers_twice_is_warned_of(app: App, peer: Peer) -> None:
    peer.answers = lambda request: [reply(request, GOOD), reply(request, GOOD)]

    with pytest.warns(UserWarning, match="two nodes are called odd@h"):
        answer = app.control.inspect(timeout=0.3, limit=2).ping()

    assert answer == GOOD


def test_a_huge_reply_is_read(app: App, peer: Peer) -> None:
    text = "x" * 5_000_000
    peer.answers = lambda request: [reply(request, {NODE: {"ok": text}})]

    assert app.control.inspect(timeout=20.0).report() == {NODE: {"ok": text}}


COMMANDS = (
    "active active_queues clock conf memdump memsample ping query_task registered report reserved "
    "revoked scheduled stats"
).split()
VALUES = [None, 5, "text", [], ["a", 1, None], {}, {"a": [1]}, {"ok": [1]}, {"error": {"b": 2}},
          [{"id": 5}], [{"request": 7, "eta": 1}], {"pool": 3, "broker": []},
          {"ok": None, "total": "x"}]  # fmt: skip


@pytest.mark.parametrize("method", COMMANDS)
def test_the_program_shows_any_value_without_a_traceback(
    peer: Peer, redis_url: str, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = ["id"] if method == "query_task" else []
    broken = []
    for value in VALUES:
        peer.answers = lambda request, v=value: [reply(request, {NODE: v})]  # type: ignore[misc]
        for form in ("table", "json", "celery"):
            line = ["-b", redis_url, "inspect", method, *ids, "-t", "5", "-o", form]
            code = run(line)
            said = capsys.readouterr()
            fine = code in (0, 1) and NODE in said.out + said.err
            if not fine or "Traceback" in said.out + said.err:
                broken.append((value, form, code, said.out[-300:], said.err[-300:]))

    assert broken == []


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_status_and_top_show_a_node_that_answers_nonsense(
    peer: Peer, redis_url: str, value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    peer.answers = lambda request: [reply(request, {NODE: value})]

    codes = [
        run(["-b", redis_url, "status", "-t", "5", "-o", "table"]),
        run(["-b", redis_url, "top", "--once", "-t", "0.1"]),
    ]

    said = capsys.readouterr()
    assert "Traceback" not in said.err and "Traceback" not in said.out
    assert all(code in (0, 1, 3) for code in codes), said.err
    assert NODE in said.out


# --- elections ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, lone_url: str) -> Iterator[Mixed]:
    fleet = Mixed(tmp_path_factory.mktemp("elections"), lone_url)
    try:
        for name in ("t1", "t2"):
            fleet.start("taskctl", name, "-c", "1")
        fleet.wait_ready()
        yield fleet
    finally:
        fleet.close()


class Candidate:
    """Stands for elections as Celery's worker does, with Celery's own dispatcher."""

    def __init__(self, fleet: Mixed) -> None:
        self.app: Celery = fleet.theirs
        self.connection = self.app.connection()
        self.events = self.app.events.Dispatcher(self.connection, hostname="c1@h")
        self.say("worker-online")

    def say(self, kind: str, clock: int | None = None, **fields: Any) -> None:
        about = {"freq": 60.0, "sw_ident": "py-celery", "sw_ver": "5.7.0", "sw_sys": "Linux"}
        fields = fields or {**about, "active": 0, "processed": 0, "loadavg": [0, 0, 0]}
        if clock is not None:
            self.app.clock.value = clock - 1
        self.events.send(kind, **fields)

    def close(self) -> None:
        self.say("worker-offline")
        self.connection.release()


@pytest.fixture
def candidate(fleet: Mixed) -> Iterator[Candidate]:
    candidate = Candidate(fleet)
    eventually(lambda: _neighbours(fleet) == [["c1@h"], ["c1@h"]])
    yield candidate
    candidate.close()
    eventually(lambda: all("c1@h" not in names for names in _neighbours(fleet)), within=20)


def _neighbours(fleet: Mixed) -> list[list[str]]:
    return [node.record["neighbours"] for node in fleet.ours.control.cluster.nodes()]


def marking(path: Path) -> dict[str, Any]:
    """Return a signature whose task shows that it ran, by a file of its own."""
    return {"task": "proj.hold", "args": [str(path)], "kwargs": {}, "options": {},
            "subtask_type": None, "immutable": False}  # fmt: skip


def elected(fleet: Mixed, number: str) -> list[str]:
    """Return what each of our nodes says of the end of an election."""
    lines = [line for m in fleet.members.values() for line in m.log.splitlines()]
    return [line.rpartition(": ")[2].partition("INFO")[2] or line for line in lines
            if number in line and "elected" in line]  # fmt: skip


def test_our_nodes_alone_elect_one_of_them(fleet: Mixed) -> None:
    ran = fleet.folder / "ran-alone"

    fleet.theirs.control.election("alone", "task", marking(ran))

    eventually(ran.exists)
    ran.unlink()
    assert len(elected(fleet, "alone")) == 1


def test_a_node_of_celerys_with_the_lowest_clock_wins_over_ours(
    fleet: Mixed, candidate: Candidate
) -> None:
    ran = fleet.folder / "ran-theirs"
    action = marking(ran)

    # As if it stood first; the others hear the command a moment later.
    candidate.say("worker-elect", 1, id="theirs", topic="task", action=action, cver=1)
    fleet.theirs.control.election("theirs", "task", action)

    eventually(lambda: len(elected(fleet, "theirs")) == 2)
    assert all("node c1@h." in line for line in elected(fleet, "theirs"))
    assert not ran.exists()


def test_our_nodes_agree_on_the_winner_beside_celery(fleet: Mixed, candidate: Candidate) -> None:
    ran = fleet.folder / "ran-ours"
    action = marking(ran)

    fleet.theirs.control.election("ours", "task", action)
    candidate.say("worker-elect", 10**9, id="ours", topic="task", action=action, cver=1)

    lines = eventually(lambda: len(found := elected(fleet, "ours")) == 2 and found)
    won = [line for line in lines if "elected for task" in line]
    # By Celery's rule it ends with the votes, be it before the second candidate is heard.
    if any("node c1@h." in line for line in lines):
        assert not won
    else:
        assert len(won) == 1
        eventually(ran.exists)
        ran.unlink()


@pytest.mark.parametrize(
    "fields",
    [{"x": 1}, {"id": 5, "topic": "task"}, {"id": "odd"}, {"id": "odd", "topic": "no such"}],
    ids=repr,
)
def test_events_of_an_election_that_make_no_sense_are_borne(
    fleet: Mixed, candidate: Candidate, fields: dict[str, Any]
) -> None:
    candidate.say("worker-elect", **fields)
    candidate.say("worker-elect-ack", **fields)
    candidate.say("worker-elect-ack", id="never heard of")

    assert fleet.tell("taskctl", "ping", {}, "t1@h", "t2@h").keys() == {"t1@h", "t2@h"}
    assert all(member.process.poll() is None for member in fleet.members.values())


def test_a_broadcast_that_is_no_event_is_borne(fleet: Mixed) -> None:
    number = fleet.url.rpartition("/")[2]
    with redis.Redis.from_url(fleet.url) as client:
        for channel in ("celeryev/worker.online", "celeryev/worker.elect", "celery.pidbox"):
            for rubbish in (b"\xff", b"[]", b"{}", b'{"body": 5}', b"x" * 100_000):
                assert client.publish(f"/{number}.{channel}", rubbish) == 2

    assert fleet.tell("taskctl", "ping", {}, "t1@h", "t2@h").keys() == {"t1@h", "t2@h"}
    assert "Traceback" not in "".join(member.log for member in fleet.members.values())
