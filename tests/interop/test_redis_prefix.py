"""One fleet of both kinds under a key prefix, and what it does with messages nobody can read."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from ..support.mixed import Mixed
from ..support.servers import RedisServer
from ..support.waiting import eventually

PREFIX = "shop:"
NODES = ("theirs@h", "ours@h")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Mixed]:
    """A worker of each kind; queue `own` is for ours alone."""
    url = f"redis://127.0.0.1:{redis_server.port}/60"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    fleet = Mixed(
        tmp_path_factory.mktemp("prefix"),
        url,
        broker_transport_options={"global_keyprefix": PREFIX},
        result_backend_transport_options={"global_keyprefix": PREFIX},
        worker_send_task_events=True,
    )
    try:
        fleet.start("celery", "theirs", "-P", "solo", "-Q", "celery")
        fleet.start("taskctl", "ours", "-c", "1", "-Q", "celery,own")
        fleet.wait_ready()
        yield fleet
    finally:
        fleet.close()


@pytest.fixture
def client(fleet: Mixed) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(fleet.url, decode_responses=True) as client:
        yield client


def test_both_kinds_run_each_others_tasks_and_hear_each_other(
    fleet: Mixed, client: redis.Redis
) -> None:
    results: list[Any] = []

    def send() -> None:
        for side in ("celery", "taskctl"):
            results.extend(fleet.app(side).send_task("proj.add", (n, 1)) for n in range(10))

    def all_heard(events: list[Any]) -> bool:
        done = [event for event in events if event["type"] == "task-succeeded"]
        return len(done) == 20

    events = fleet.hear(send, all_heard)

    assert sorted(one.get(timeout=20) for one in results) == sorted([*range(1, 11)] * 2)
    assert {event["hostname"] for event in events} >= set(NODES)
    assert [key for key in list(client.keys()) if not key.startswith(PREFIX)] == []


@pytest.mark.parametrize("side", ["celery", "taskctl"])
def test_control_of_either_kind_reaches_both(fleet: Mixed, side: str) -> None:
    assert fleet.tell(side, "ping", None, *NODES) == {node: {"ok": "pong"} for node in NODES}


def test_the_command_line_sees_queues_and_nodes_without_the_prefix(fleet: Mixed) -> None:
    listed = fleet.run("taskctl", "queue", "ls", "-o", "json")
    pinged = fleet.run("taskctl", "inspect", "ping", "-j")

    names = [row["queue"] for row in json.loads(listed.stdout)["items"]]
    assert sorted(names) == ["celery", "own"], listed
    assert set(json.loads(pinged.stdout)) == set(NODES), pinged


# --- what nobody can read ------------------------------------------------------------------------


def good() -> dict[str, Any]:
    """Return a message for proj.add, as Celery writes one."""
    body = base64.b64encode(b"[[2, 3], {}, {}]").decode()
    return {
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": "proj.add", "id": "fine", "lang": "py"},
        "properties": {
            "body_encoding": "base64",
            "delivery_info": {"exchange": "", "routing_key": "own"},
            "delivery_tag": "tag",
            "priority": 0,
        },
    }


def changed(**fields: Any) -> bytes:
    """Return that message with other fields; None leaves one out."""
    message = {name: fields.get(name, value) for name, value in good().items()}
    kept = {name: value for name, value in message.items() if value is not None}
    return json.dumps(kept).encode()


def without(*path: str) -> bytes:
    message = good()
    part = message
    for name in path[:-1]:
        part = part[name]
    del part[path[-1]]
    return json.dumps(message).encode()


BAD = {
    "not JSON": b"nonsense",
    "cut off": changed()[:-20],
    "not UTF-8": b'{"body": "\xff\xfe"}',
    "a list": b"[1, 2]",
    "a number": b"7",
    "empty": b"",
    "no headers": changed(headers=None),
    "headers are a list": changed(headers=[1]),
    "properties are text": changed(properties="no"),
    "body is no base64": changed(body="%%%"),
    "body is a number": changed(body=7),
    "body is no JSON": changed(body=base64.b64encode(b"{{{").decode()),
    "arguments are text": changed(body=base64.b64encode(b'["ab", {}, {}]').decode()),
    "task is a number": changed(headers={"task": 5, "id": "x"}),
    "unknown task": changed(headers={"task": "no.such", "id": "x"}),
    "pickle": changed(**{"content-type": "application/x-python-serialize"}),
    "bad eta": changed(headers={"task": "proj.add", "id": "x", "eta": "soon"}),
    "deep": b"[" * 5000 + b"]" * 5000,
}
FINE = {
    "no delivery_info": without("properties", "delivery_info"),
    "no delivery_tag": without("properties", "delivery_tag"),
    "no content-encoding": without("content-encoding"),
}


def test_what_nobody_can_read_is_buried_with_its_reason_and_work_goes_on(
    fleet: Mixed, client: redis.Redis
) -> None:
    raw = redis.Redis.from_url(fleet.url)
    for message in (*BAD.values(), *FINE.values()):
        raw.lpush(f"{PREFIX}own", message)
    raw.close()
    last = fleet.theirs.send_task("proj.add", (40, 2), queue="own")

    assert last.get(timeout=30) == 42
    with fleet.ours.connection() as connection:
        broker = connection.broker
        eventually(lambda: broker.size("celery.dead") == len(BAD), within=20)
        reasons = [told(envelope) for envelope in broker.peek("celery.dead", 100)]
        eventually(lambda: {q.name: q.unacked for q in broker.queues()}["own"] == 0)
        broker.purge("celery.dead")
    assert len(reasons) == len(BAD)
    assert all("\n" not in reason for reason in reasons), reasons
    kinds = sorted(reason.partition(": ")[0] for reason in reasons)
    assert kinds == ["malformed"] * (len(BAD) - 1) + ["unregistered"]
    assert not client.exists(f"{PREFIX}own")


def told(envelope: bytes) -> str:
    """Return why a message was buried."""
    facts = json.loads(envelope)["headers"]["taskctl-dead"]
    return f"{facts['reason']}: {facts['detail']}"


@pytest.mark.parametrize("name", sorted(FINE))
def test_what_only_lacks_a_detail_is_run(fleet: Mixed, name: str) -> None:
    message = json.loads(FINE[name])
    message["headers"]["id"] = f"fine-{name.replace(' ', '-')}"
    with redis.Redis.from_url(fleet.url) as raw:
        raw.lpush(f"{PREFIX}own", json.dumps(message))

    assert fleet.ours.AsyncResult(message["headers"]["id"]).get(timeout=20) == 5
