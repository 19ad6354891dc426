"""Replies of a real worker, held against those that were captured from Celery."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from taskctl.core.remote.vocabulary import COMMANDS

from ..support.waiting import eventually
from ..support.workers import Farm

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
NODE = "w1@test"


def captured(name: str) -> Any:
    """Return what Celery's node answered."""
    case = json.loads((GOLDEN / f"control_{name}.json").read_text())
    (body,) = (r["body_decoded"] for r in case["redis"] if r["command"] == "LPUSH")
    return body["worker@example.com"]


def bare(reply: Any) -> Any:
    """Return a reply without the keys that ours have beside Celery's."""
    if not isinstance(reply, dict) or not reply.keys() & {"ok", "error"}:
        return reply
    return {key: value for key, value in reply.items() if key in ("ok", "error")}


def shape(value: Any) -> Any:
    """Return the keys and types in a value; of a list, those of its first item."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return type(value).__name__


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def busy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, redis_server: Any
) -> Iterator[Farm]:
    """A farm with one node that runs `running`, holds `reserved`, and knows of `scheduled`."""
    folder = tmp_path_factory.mktemp("busy")
    url = f"sqlite:///{folder}/queue.db"
    if request.param == "redis":
        url = f"redis://127.0.0.1:{redis_server.port}/62"
    farm = Farm(folder, url)
    try:
        farm.start("w1", concurrency=1, prefetch_multiplier=2, task_events=True).ready()
        # First: on Redis a node holds a message for its ETA once it has received it.
        farm.send("add", 9, 9, task_id="scheduled", countdown=600)
        eventually(lambda: ask(farm, "scheduled"))
        farm.send("mark", "running", 60.0, task_id="running")
        eventually(lambda: farm.runs()["running"])
        farm.send("mark", "reserved", task_id="reserved")
        eventually(lambda: ask(farm, "reserved"))
        yield farm
    finally:
        farm.close()


def ask(farm: Farm, method: str, **arguments: Any) -> Any:
    (reply,) = farm.app.control.broadcast(
        method, arguments, [NODE], reply=True, timeout=3.0
    ) or pytest.fail(f"no reply to {method}")
    return reply[NODE]


@pytest.mark.parametrize("name", ["ping", "heartbeat", "enable_events", "active_queues", "clock"])
def test_a_reply_has_the_shape_of_celerys(busy: Farm, name: str) -> None:
    assert shape(bare(ask(busy, name))) == shape(captured(name))


def test_enable_events_says_what_was_the_case(busy: Farm) -> None:
    assert bare(ask(busy, "enable_events")) == captured("enable_events")


@pytest.mark.parametrize("name", ["active", "reserved", "scheduled"])
def test_tasks_are_shown_as_celery_shows_them(busy: Farm, name: str) -> None:
    theirs, (ours,) = captured(name)[0], ask(busy, name)
    theirs_info, info = theirs.get("request", theirs), ours.get("request", ours)

    assert shape({k: v for k, v in ours.items() if k != "request"}).keys() <= theirs.keys()
    # Arguments are the task's own.
    for one in (theirs_info, info):
        assert isinstance(one.pop("args"), list)
        assert isinstance(one.pop("kwargs"), dict)
    assert shape(info) == shape(theirs_info)


def test_active_tells_the_task_its_child_and_since_when(busy: Farm) -> None:
    (info,) = ask(busy, "active")

    assert (info["id"], info["args"], info["kwargs"]) == ("running", ["running", 60.0], {})
    assert info["worker_pid"] == busy.pids("running")[0]
    assert abs(info["time_start"] - busy.times("running")[0]) < 0.5
    assert (info["hostname"], info["acknowledged"]) == (NODE, False)


def test_safe_shows_arguments_as_text(busy: Farm) -> None:
    (info,) = ask(busy, "active", safe=True)

    assert (info["args"], info["kwargs"]) == ("('running', 60.0)", "{}")


def test_scheduled_tells_when(busy: Farm) -> None:
    (entry,) = ask(busy, "scheduled")

    assert 590 < datetime.fromisoformat(entry["eta"]).timestamp() - time.time() < 601
    assert entry["priority"] == 6
    assert entry["request"]["id"] == "scheduled"
    assert (entry["request"]["args"], entry["request"]["kwargs"]) == ([9, 9], {})


def test_query_task_finds_tasks_wherever_they_are(busy: Farm) -> None:
    found = ask(busy, "query_task", ids=["running", "reserved", "scheduled", "unknown"])

    assert {task_id: state for task_id, (state, _) in found.items()} == {
        "running": "active",
        "reserved": "reserved",
        "scheduled": "scheduled",
    }
    assert ask(busy, "query_task", ids="running")["running"][0] == "active"


def test_registered_lists_names_and_the_attributes_asked_for(busy: Farm) -> None:
    plain = ask(busy, "registered")
    asked = ask(busy, "registered", taskinfoitems=["max_retries"], builtins=True)

    assert plain == sorted(plain)
    assert "trial.add" in plain and not [n for n in plain if n.startswith("celery.")]
    assert "trial.add [max_retries=3]" in asked
    assert [n for n in asked if n.startswith("celery.")]
    assert "trial.add" in ask(busy, "registered", taskinfoitems=["__class__", "_app"])


def test_stats_have_all_keys_of_celerys(busy: Farm) -> None:
    theirs, ours = captured("stats"), ask(busy, "stats")

    assert ours.keys() >= theirs.keys()
    assert ours["broker"].keys() >= theirs["broker"].keys()
    assert ours["pool"].keys() >= theirs["pool"].keys()
    assert ours["rusage"].keys() >= theirs["rusage"].keys()
    for key in ("pid", "uptime", "prefetch_count", "clock"):
        assert type(ours[key]) is type(theirs[key])
    assert ours["total"] == {"trial.mark": 2}
    assert ours["pool"]["processes"] == busy.nodes[0].children()
    assert ours["prefetch_count"] == 2


def test_conf_shows_what_was_set_and_report_what_runs_here(busy: Farm) -> None:
    conf = ask(busy, "conf")

    assert conf["broker_url"] == busy.url
    assert "worker_lease" not in conf
    assert ask(busy, "conf", with_defaults=True)["worker_lease"] == 15.0
    assert re.search(r"taskctl:\S+", ask(busy, "report")["ok"])


def test_hello_answers_with_revoked_ids_and_clock(busy: Farm) -> None:
    reply = ask(busy, "hello", from_node="other@test", revoked=["told"])

    assert reply.keys() == captured("hello").keys()
    assert "told" in reply["revoked"] == ask(busy, "revoked")
    assert isinstance(reply["clock"], int)
    assert ask(busy, "hello", from_node=NODE) is None


@pytest.mark.parametrize(
    ("name", "method", "arguments"),
    [
        ("no_such_command", "no_such_command", {}),
        ("ping_2", "ping", {"bogus": 1}),
        ("report_2", "report", {"bogus": 1}),
        ("autoscale", "autoscale", {"max": 3, "min": 1}),
        ("rate_limit_2", "rate_limit", {"task_name": "nope", "rate_limit": "1/m"}),
        ("time_limit_2", "time_limit", {"task_name": "nope", "hard": 1, "soft": None}),
        ("rate_limit", "rate_limit", {"task_name": "trial.add", "rate_limit": "100/m"}),
        ("rate_limit_4", "rate_limit", {"task_name": "trial.add", "rate_limit": 0}),
        ("time_limit", "time_limit", {"task_name": "trial.add", "hard": 60.0, "soft": 30.0}),
        ("terminate", "terminate", {"signal": "KILL", "task_id": ["unknown"]}),
        ("objgraph", "objgraph", {"num": 1, "max_depth": 1, "type": "Request"}),
    ],
)
def test_a_reply_equals_celerys(
    busy: Farm, name: str, method: str, arguments: dict[str, Any]
) -> None:
    assert bare(ask(busy, method, **arguments)) == captured(name)


def test_older_names_of_commands_are_understood(busy: Farm) -> None:
    for alias, name in (("dump_reserved", "reserved"), ("dump_tasks", "registered")):
        assert ask(busy, alias) == ask(busy, name)


def test_nodes_that_are_not_meant_stay_silent(busy: Farm) -> None:
    control = busy.app.control

    assert control.ping(["other@test"], timeout=0.3) == []
    assert control.broadcast("ping", reply=True, pattern="x*", matcher="glob", timeout=0.3) == []
    pong = [{NODE: {"ok": "pong"}}]
    assert control.broadcast("ping", reply=True, pattern="w*", matcher="glob", limit=1) == pong
    assert control.broadcast("ping", reply=True, pattern="w.@", matcher="pcre", limit=1) == pong


def test_a_question_ends_when_all_known_nodes_have_answered(busy: Farm) -> None:
    began = time.monotonic()

    assert busy.app.control.ping(timeout=10) == [{NODE: {"ok": "pong"}}]

    assert time.monotonic() - began < 2


def test_every_command_of_the_vocabulary_is_known_to_the_node() -> None:
    from taskctl.core.worker.commands import Commands

    assert [name for name in COMMANDS if not callable(getattr(Commands, name, None))] == []
