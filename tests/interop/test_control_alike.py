"""Every remote command, sent to a worker of Celery and to one of ours: the replies are alike.

Each row goes to both workers from both clients; Celery's client and worker say what is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ..support.alike import Exceptions, differences
from ..support.mixed import Mixed
from ..support.waiting import eventually
from .conftest import Place

THEIRS, OURS = "theirs@h", "ours@h"
TASK = "proj.mul"

#: What may differ everywhere.
OF_ITSELF = {
    "active[].id": "each has tasks of its own",
    "reserved[].id": "",
    "scheduled[].request.id": "",
    "*.hostname": "each says its own name",
    "*.time_start": "",
    "*.worker_pid": "",
    "active[].delivery_info.routing_key": "each has a queue of its own",
    "reserved[].delivery_info.routing_key": "",
    "scheduled[].request.delivery_info.routing_key": "",
    "scheduled[].eta": "",
    "active_queues[].name": "",
    "active_queues[].routing_key": "",
    "active_queues[].exchange.name": "",
    "memsample": "their memory",
    "memdump": "",
    "clock.clock": "their clocks",
    "hello.clock": "",
    "report.ok": "other versions and settings",
    "stats.pid": "",
    "stats.clock": "",
    "stats.uptime": "",
    "stats.rusage.*": "",
    "stats.pool.implementation": "the class",
    "stats.pool.processes[]": "",
    "stats.pool.writes.*": "how work reached the children",
    "stats.prefetch_count": "Celery counts what waits for an ETA; ours waits in the broker",
    "registered[]": "acks_late and others are shown as the task has them",
    "revoke.ok": "a set is printed in any order",
    "conf.*": "each has its own",
}
MORE = {
    "*.what": "control says what has changed, and from what to what",
    "*.old": "",
    "*.new": "",
    "*.detail": "an error says what would have been right",
    "stats.memory": "the memory of the children too",
    "stats.broker.reconnects": "how the line has fared",
    "stats.broker.connected_seconds": "",
    "stats.total.*": "a task counts once it is handed to the pool, which keeps a few in hand",
    "conf.*": "settings that Celery does not have",
}
TYPES = {
    "conf.deprecated_settings": "internal to Celery, and so are these",
    "conf.include": "",
    "conf.worker_disable_prefetch": "",
}
ALLOWED = Exceptions(values=OF_ITSELF, more=MORE, types=TYPES)

ROWS: list[tuple[str, dict[str, Any]]] = [
    ("ping", {}),
    ("ping", {"unexpected": 1}),
    ("active", {"safe": None}),
    ("active", {"safe": True}),
    ("dump_active", {}),
    ("reserved", {"safe": None}),
    ("dump_reserved", {}),
    ("scheduled", {"safe": None}),
    ("dump_schedule", {}),
    ("revoked", {}),
    ("dump_revoked", {"unexpected": 1}),
    ("registered", {}),
    ("registered", {"taskinfoitems": ["rate_limit", "name", "_app", "__class__"]}),
    ("registered", {"taskinfoitems": ["max_retries", "serializer", "no_such"]}),
    ("dump_tasks", {"taskinfoitems": None, "builtins": None}),
    ("active_queues", {}),
    ("active_queues", {"unexpected": 1}),
    ("stats", {}),
    ("stats", {"unexpected": 1}),
    ("report", {}),
    ("report", {"unexpected": 1}),
    ("clock", {}),
    ("conf", {}),
    ("dump_conf", {"with_defaults": False}),
    ("query_task", {"ids": ["a"]}),
    ("query_task", {"ids": "a"}),
    ("query_task", {"ids": None}),
    ("query_task", {}),
    ("memsample", {}),
    ("memdump", {"samples": 3}),
    ("objgraph", {"num": 1, "max_depth": 1, "type": "Request"}),
    ("objgraph", {"unexpected": 1}),
    ("hello", {"from_node": "new@h", "revoked": ["gone"]}),
    ("hello", {"from_node": "new@h", "revoked": None, "unexpected": 1}),
    ("hello", {}),
    ("revoke", {"task_id": "gone"}),
    ("revoke", {"task_id": ["gone", "gone"], "terminate": False, "signal": "SIGTERM"}),
    ("revoke", {"task_id": []}),
    ("revoke", {"task_id": None}),
    ("revoke", {}),
    ("revoke", {"task_id": "gone", "terminate": True}),
    ("revoke", {"task_id": "gone", "terminate": True, "signal": "KILL"}),
    ("revoke", {"task_id": "gone", "terminate": True, "signal": 9}),
    ("revoke_by_stamped_headers", {"headers": {"a": "1"}}),
    ("revoke_by_stamped_headers", {"headers": {"a": ["1", "2"]}}),
    ("revoke_by_stamped_headers", {"headers": ["a=1"], "terminate": True}),
    ("revoke_by_stamped_headers", {}),
    ("terminate", {"signal": "TERM", "task_id": ["gone"]}),
    ("terminate", {"task_id": "gone"}),
    ("terminate", {"signal": "TERM"}),
    ("rate_limit", {"task_name": TASK, "rate_limit": "100/m"}),
    ("rate_limit", {"task_name": TASK, "rate_limit": 5}),
    ("rate_limit", {"task_name": TASK, "rate_limit": 1.5}),
    ("rate_limit", {"task_name": TASK, "rate_limit": 0}),
    ("rate_limit", {"task_name": TASK, "rate_limit": ""}),
    ("rate_limit", {"task_name": TASK, "rate_limit": None}),
    ("rate_limit", {"task_name": TASK}),
    ("rate_limit", {"rate_limit": "1/s"}),
    ("rate_limit", {"task_name": "no.such", "rate_limit": "1/s"}),
    ("time_limit", {"task_name": TASK, "soft": 1, "hard": 2}),
    ("time_limit", {"task_name": TASK, "soft": None, "hard": None}),
    ("time_limit", {"task_name": "no.such", "soft": 1}),
    ("time_limit", {}),
    ("add_consumer", {"queue": "q2"}),
    ("add_consumer", {"queue": "q2", "unexpected": None}),
    ("add_consumer", {"queue": "q3", "exchange": "e3", "exchange_type": "topic",
                      "routing_key": "a.#"}),
    ("add_consumer", {"queue": "q4", "exchange": None, "exchange_type": None,
                      "routing_key": None}),
    ("add_consumer", {}),
    ("active_queues", {}),
    ("cancel_consumer", {"queue": "q2"}),
    ("cancel_consumer", {"queue": "q3", "unexpected": 1}),
    ("cancel_consumer", {"queue": "q4"}),
    ("cancel_consumer", {"queue": "no.such"}),
    ("cancel_consumer", {}),
    ("enable_events", {}),
    ("enable_events", {"unexpected": 1}),
    ("disable_events", {"unexpected": 1}),
    ("pool_grow", {"n": 0}),
    ("pool_restart", {"modules": None, "reload": False, "reloader": None}),
    ("autoscale", {"max": 2, "min": 1}),
    ("autoscale", {"unexpected": 1}),
    ("heartbeat", {}),
    ("heartbeat", {"unexpected": 1}),
    ("election", {}),
    ("no_such_command", {}),
    ("no_such_command", {"a": 1}),
]  # fmt: skip

#: Rows whose reply is one of the same shape with another text, and why.
OTHER_TEXT: list[tuple[str, dict[str, Any], str]] = [
    ("registered", {"taskinfoitems": "rate_limit"}, "text is one attribute, not its letters"),
    ("revoke", {"task_id": "gone", "terminate": True, "signal": "NOPE"}, "says what fits"),
    ("revoke_by_stamped_headers", {"headers": ["a"]}, "says what fits"),
    ("revoke_by_stamped_headers", {"headers": "a"}, "says what fits"),
    ("rate_limit", {"task_name": TASK, "rate_limit": "5/x"}, "Celery leaks a KeyError"),
    ("rate_limit", {"task_name": TASK, "rate_limit": [1]}, "Celery leaks a TypeError"),
    ("rate_limit", {"task_name": "no.such", "rate_limit": "xx"}, "says what fits"),
    ("rate_limit", {"task_name": TASK, "rate_limit": "0"}, "Celery says set, and lifts it"),
    ("pool_grow", {"n": "x"}, "each says it in its words"),
    ("pool_grow", {"n": None}, "each says it in its words"),
    ("pool_shrink", {"n": 99}, "Celery says that all are busy"),
    ("disable_events", {}, "Celery refuses with -E; here it disables what enable_events enables"),
    ("enable_events", {}, "after the row above"),
]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, place: Place) -> Iterator[Mixed]:
    """A worker of each kind with two running, one reserved and one scheduled task."""
    settings = {
        "task_acks_late": True,  # both: else one has acknowledged what runs, and the other has not
        "worker_prefetch_multiplier": 4,
    }
    fleet = Mixed(tmp_path_factory.mktemp("alike"), place.url, place.backend, **settings)
    held = fleet.folder / "held"
    try:
        fleet.start("celery", "theirs", "-c", "2", "-E", "-Q", "a-theirs", "--without-gossip")
        fleet.start("taskctl", "ours", "-c", "2", "-E", "-Q", "a-ours")
        fleet.wait_ready()
        for queue in ("a-theirs", "a-ours"):
            for task, options in (("hold", {}), ("hold", {}), ("late", {}), ("late", {"eta": 1})):
                args = (str(held),) if task == "hold" else (0,)
                more = {"countdown": 600} if options else {}
                fleet.theirs.send_task(f"proj.{task}", args, queue=queue, **more)
        for method, count in (("active", 2), ("reserved", 1), ("scheduled", 1)):
            eventually(lambda m=method, c=count: _lengths(fleet, m) == {THEIRS: c, OURS: c})
        yield fleet
        held.unlink()
    finally:
        fleet.close()


def _lengths(fleet: Mixed, method: str) -> dict[str, int]:
    replies = fleet.tell("celery", method, {}, THEIRS, OURS)
    return {node: len(value) for node, value in replies.items()}


def said(row: tuple[str, dict[str, Any]] | tuple[str, dict[str, Any], str]) -> str:
    return f"{row[0]}-{row[1]}"


@pytest.mark.parametrize("row", ROWS, ids=said)
def test_both_workers_say_the_same_to_both_clients(
    fleet: Mixed, row: tuple[str, dict[str, Any]]
) -> None:
    method, arguments = row
    name = {"dump_active": "active", "dump_reserved": "reserved", "dump_conf": "conf",
            "dump_schedule": "scheduled", "dump_tasks": "registered",
            "dump_revoked": "revoked"}.get(method, method)  # fmt: skip

    right = fleet.tell("celery", method, arguments, THEIRS, OURS)
    again = fleet.tell("taskctl", method, arguments, THEIRS, OURS)

    assert right.keys() == again.keys() == {THEIRS, OURS}
    # What one client reads of a worker, the other reads too; a second time a row may say more.
    told = [right[OURS], again[THEIRS], again[OURS]]
    found = [[*differences(right[THEIRS], one, name, ALLOWED)] for one in told]
    assert found == [[], [], []]


@pytest.mark.parametrize("row", OTHER_TEXT, ids=said)
def test_where_the_text_is_another_the_shape_is_the_same(
    fleet: Mixed, row: tuple[str, dict[str, Any], str]
) -> None:
    method, arguments, reason = row

    right = fleet.tell("celery", method, arguments, THEIRS, OURS)

    theirs, ours = right[THEIRS], right[OURS]
    assert reason
    assert type(theirs) is type(ours)
    if isinstance(theirs, dict):
        assert theirs.keys() - ours.keys() <= {"error", "ok"}
        assert {"error", "ok"} & ours.keys()
        if "error" in theirs:
            assert "error" in ours and "Traceback" not in ours["error"]


@pytest.mark.parametrize(
    ("pattern", "matcher", "nodes"),
    [
        ("th*", "glob", {THEIRS}),
        ("*@h", "glob", {THEIRS, OURS}),
        ("*@nowhere", "glob", set()),
        ("(our|their)s@", "pcre", {THEIRS, OURS}),
        ("urs", "pcre", set()),
        ("o.rs@h$", "pcre", {OURS}),
    ],
)
@pytest.mark.parametrize("client", ["celery", "taskctl"])
def test_a_pattern_reaches_the_same_nodes(
    fleet: Mixed, client: str, pattern: str, matcher: str, nodes: set[str]
) -> None:
    options = {"pattern": pattern, "matcher": matcher, "limit": len(nodes) or None}

    replies = fleet.tell(client, "ping", {}, timeout=5.0 if nodes else 0.3, **options)

    assert replies.keys() == nodes


def test_query_task_finds_a_task_in_each_state(fleet: Mixed) -> None:
    for node in (THEIRS, OURS):
        ids = {
            state: fleet.tell("celery", method, {}, node)[node][0]
            for state, method in (
                ("active", "active"), ("reserved", "reserved"), ("scheduled", "scheduled")
            )
        }  # fmt: skip
        wanted = {s: (e["request"] if s == "scheduled" else e)["id"] for s, e in ids.items()}

        found = fleet.tell("taskctl", "query_task", {"ids": list(wanted.values())}, node)[node]

        assert {state: found[i][0] for state, i in wanted.items()} == {
            "active": "active", "reserved": "reserved", "scheduled": "scheduled"
        }  # fmt: skip
        assert all(found[i][1]["id"] == i for i in wanted.values())


@pytest.mark.parametrize("client", ["celery", "taskctl"])
def test_a_reply_that_nobody_wants_is_not_sent(fleet: Mixed, client: str) -> None:
    assert fleet.app(client).control.broadcast("ping", destination=[THEIRS, OURS]) is None
    assert fleet.tell("celery", "ping", {}, THEIRS, OURS).keys() == {THEIRS, OURS}


@pytest.mark.parametrize("place", ["redis"], indirect=True)
@pytest.mark.parametrize("arguments", [{"n": 1}, {}, {"unexpected": 1}])
def test_pools_grow_and_shrink_alike(fleet: Mixed, arguments: dict[str, Any]) -> None:
    grown = [fleet.tell(c, "pool_grow", arguments, THEIRS, OURS) for c in ("celery", "taskctl")]

    def shrunk(client: str) -> Any:
        # Celery refuses while its new children have not said that they are there.
        replies = fleet.tell(client, "pool_shrink", arguments, THEIRS)
        return "ok" in replies[THEIRS] and replies | fleet.tell(client, "pool_shrink", {}, OURS)

    shrunken = [eventually(lambda c=c: shrunk(c)) for c in ("celery", "taskctl")]  # type: ignore[misc]
    assert [[*differences(one[THEIRS], one[OURS], "pool", ALLOWED)] for one in grown] == [[], []]
    assert [[*differences(one[THEIRS], one[OURS], "pool", ALLOWED)] for one in shrunken] == [[], []]
    sizes = fleet.tell("celery", "stats", {}, THEIRS, OURS)
    assert {node: said["pool"]["max-concurrency"] for node, said in sizes.items()} == {
        THEIRS: 2, OURS: 2
    }  # fmt: skip
