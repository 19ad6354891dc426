"""What nodes say beside Celery's words, and the commands that few know."""

from __future__ import annotations

from typing import Any

import pytest

from taskctl.core.errors import TaskRevokedError
from taskctl.core.remote.vocabulary import COMMANDS, INSPECT

from ..support.waiting import eventually
from ..support.workers import Farm

NODE = "w1@test"


def tell(farm: Farm, method: str, **arguments: Any) -> Any:
    replies = farm.app.control.broadcast(method, arguments, [NODE], reply=True, timeout=3.0)
    assert replies, f"no reply to {method}"
    return replies[0][NODE]


def test_a_reply_tells_what_was_changed_from_what_to_what(service: Farm) -> None:
    limited = tell(service, "rate_limit", task_name="trial.fail", rate_limit="7/m")
    freed = tell(service, "rate_limit", task_name="trial.fail", rate_limit=0)
    timed = tell(service, "time_limit", task_name="trial.fail", soft=1.0, hard=2.0)
    events = tell(service, "disable_events")

    assert (limited["what"], limited["old"], limited["new"]) == ("trial.fail", None, "7/m")
    assert (freed["old"], freed["new"]) == ("7/m", None)
    assert timed["old"] == {"soft": None, "hard": None}
    assert timed["new"] == {"soft": 1.0, "hard": 2.0}
    assert (events["old"], events["new"]) == (False, False)


def test_an_unknown_task_is_refused_with_those_there_are(service: Farm) -> None:
    reply = tell(service, "rate_limit", task_name="nope", rate_limit="7/m")

    assert reply["error"] == "unknown task"
    assert reply["detail"].startswith("unknown task 'nope'; has trial.add, trial.again, ")
    assert reply["detail"].endswith(" more")


def test_memory_is_sampled_and_dumped_as_celery_does(service: Farm) -> None:
    samples = [tell(service, "memsample") for _ in range(3)]
    dump = tell(service, "memdump", samples=2)

    assert all(sample.endswith("MB") and float(sample[:-2]) > 5 for sample in samples)
    head, first, second, end = dump.splitlines()
    assert (head, first, second) == (
        "- rss (sample):", f"-    > {samples[0]},", f"-    > {samples[1]},",
    )  # fmt: skip
    assert end.startswith("- rss (end): ")
    assert tell(service, "memdump").startswith("- rss (end): ")


def test_stats_tell_of_memory_and_of_the_line_to_the_broker(service: Farm) -> None:
    stats = tell(service, "stats")

    assert stats["memory"]["parent"] > 5 << 20 and stats["memory"]["children"] > 5 << 20
    assert stats["memory"]["peak"] >= stats["memory"]["parent"] + stats["memory"]["children"]
    assert stats["broker"]["reconnects"] == 0
    assert 0 < stats["broker"]["connected_seconds"] <= stats["uptime"] + 1


def test_stacks_show_parent_and_children(service: Farm) -> None:
    service.send("mark", "looked at", 3.0)
    eventually(lambda: service.runs()["looked"])

    text = tell(service, "stacks")["ok"]

    assert "thread MainThread" in text
    assert "trial.mark" in text and "time.sleep(seconds)" in text


def test_tasks_with_a_revoked_stamp_do_not_run(service: Farm) -> None:
    reply = tell(service, "revoke_by_stamped_headers", headers={"customer": ["4711"]})
    stamped = {"stamped_headers": ["customer"], "customer": "4711"}
    revoked = service.app.send_task("trial.mark", ("stamped",), **stamped)
    other = service.app.send_task("trial.mark", ("other",), **{**stamped, "customer": "12"})

    assert reply == {"ok": "headers {'customer': '4711'} flagged as revoked, but not terminated"}
    with pytest.raises(TaskRevokedError):
        revoked.get(timeout=5)
    assert other.get(timeout=5) == "other"
    assert service.runs()["stamped"] == 0


def test_running_tasks_with_a_revoked_stamp_are_killed_on_request(service: Farm) -> None:
    stamped = {"stamped_headers": ["batch"], "batch": ["b1", "b2"]}
    running = service.app.send_task("trial.mark", ("long", 60.0), **stamped)
    eventually(lambda: service.runs()["long"])

    missed = tell(service, "revoke_by_stamped_headers", headers=["batch=b9"], terminate=True)
    hit = tell(service, "revoke_by_stamped_headers", headers=["batch=b1"], terminate=True)

    assert missed == {"ok": "headers {'batch': 'b9'} were not terminated"}
    assert hit == {"ok": "headers {'batch': {'b1'}} revoked"}
    with pytest.raises(TaskRevokedError, match="terminated"):
        running.get(timeout=5)


def test_exactly_one_of_two_nodes_is_elected(farm: Farm) -> None:
    farm.start("w1").ready()
    farm.start("w2").ready()
    action = farm.app.signature("trial.mark", ("elected",))

    replies = farm.app.control.election("e1", "task", action, reply=True, timeout=3.0)

    assert [list(reply.values()) for reply in replies] == [[None], [None]]
    eventually(lambda: farm.runs()["elected"])
    assert farm.send("mark", "after").get(timeout=5) == "after"
    assert farm.runs()["elected"] == 1


def test_the_pool_is_restarted_only_if_that_is_allowed(farm: Farm) -> None:
    node = farm.start(settings={"worker_pool_restarts": True}).ready()
    running = farm.send("mark", "running", 0.8)
    eventually(lambda: farm.runs()["running"])
    before = node.children()

    reply = tell(farm, "pool_restart")

    assert reply["ok"] == "reload started"
    assert running.get(timeout=5) == "running"
    eventually(lambda: len(node.children()) == 2 and not set(node.children()) & set(before))
    assert farm.send("add", 1, 2).get(timeout=5) == 3


def test_pool_restarts_are_refused_as_celery_refuses_them(service: Farm) -> None:
    assert tell(service, "pool_restart") == {"error": "ValueError('Pool restarts not enabled')"}


def test_a_quiet_node_gives_back_what_has_not_begun(farm: Farm) -> None:
    farm.start("w1", concurrency=1, prefetch_multiplier=4)
    farm.send("mark", "running", 30.0)
    eventually(lambda: farm.runs()["running"])
    waiting = farm.send("mark", "waiting")
    eventually(lambda: len(tell(farm, "reserved")) == 1)

    assert tell(farm, "quiet")["ok"] == "takes no new tasks"
    farm.start("w2").ready()

    assert waiting.get(timeout=5) == "waiting"
    assert len(tell(farm, "active")) == 1


def test_celery_knows_every_command_that_is_not_ours_alone() -> None:
    panel = pytest.importorskip("celery.worker.control").Panel
    theirs = {name: meta for name, meta in panel.meta.items()}

    ours = {name: command for name, command in COMMANDS.items() if not command.new}
    assert ours.keys() == theirs.keys()
    for name, meta in theirs.items():
        command = ours[name]
        assert (command.kind, command.alias, command.hidden) == (
            meta.type, meta.alias, not meta.visible,
        ), name  # fmt: skip
        taken = [argument.name for argument in command.positional if not argument.variadic]
        # pool_restart and election take none on Celery's command line.
        if meta.args:
            assert taken == [arg for arg, _ in meta.args], name
        if meta.variadic:
            assert command.positional[-1] == next(a for a in command.arguments if a.variadic)
            assert command.positional[-1].name == meta.variadic
    assert {c.name for c in COMMANDS.values() if c.new} == {"stacks", "quiet", "unquiet"}
    assert COMMANDS["stacks"].kind == INSPECT
