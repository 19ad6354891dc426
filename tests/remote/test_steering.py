"""What commands change in a running worker."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

from taskctl.core.errors import TaskRevokedError, TimeLimitExceeded

from ..support.waiting import eventually
from ..support.workers import Farm

NODE = "w1@test"


def tell(farm: Farm, method: str, **arguments: Any) -> Any:
    replies = farm.app.control.broadcast(method, arguments, [NODE], reply=True, timeout=3.0)
    assert replies, f"no reply to {method}"
    reply = replies[0][NODE]
    if isinstance(reply, dict) and reply.keys() & {"ok", "error"}:
        # What ours say beside: see test_changes.
        return {key: value for key, value in reply.items() if key in ("ok", "error")}
    return reply


def test_a_task_revoked_before_it_comes_does_not_run(service: Farm) -> None:
    assert tell(service, "revoke", task_id="early") == {"ok": "tasks {'early'} flagged as revoked"}
    result = service.send("mark", "early", task_id="early")

    with pytest.raises(TaskRevokedError, match="revoked"):
        result.get(timeout=5)
    assert service.runs() == {}
    assert tell(service, "revoked") == ["early"]
    eventually(lambda: service.unacked() == 0)


def test_a_task_revoked_while_it_waits_does_not_run(farm: Farm) -> None:
    farm.start(concurrency=1, prefetch_multiplier=4)
    farm.send("mark", "running", 1.0)
    eventually(lambda: farm.runs()["running"])
    waiting = [farm.send("mark", f"waiting.{number}") for number in range(3)]
    eventually(lambda: len(tell(farm, "reserved")) == 3)

    tell(farm, "revoke", task_id=[waiting[1].id])

    with pytest.raises(TaskRevokedError):
        waiting[1].get(timeout=0.8)
    assert waiting[2].get(timeout=5) == "waiting.2"
    assert farm.runs() == {"running": 1, "waiting.0": 1, "waiting.2": 1}


def test_a_task_revoked_while_it_runs_goes_on_and_one_that_ended_keeps_its_result(
    service: Farm,
) -> None:
    done = service.send("mark", "done")
    assert done.get(timeout=10) == "done"
    running = service.send("mark", "running", 0.6)
    eventually(lambda: service.runs()["running"])

    tell(service, "revoke", task_id=[running.id, done.id])

    assert running.get(timeout=5) == "running"
    assert service.app.AsyncResult(done.id).state == "SUCCESS"


def test_a_task_revoked_while_the_broker_holds_it_is_gone_at_once(service: Farm) -> None:
    (node,) = service.nodes
    held = service.send("mark", "held", countdown=600)
    eventually(lambda: tell(service, "scheduled"))

    tell(service, "revoke", task_id=held.id)

    with pytest.raises(TaskRevokedError, match="revoked"):
        held.get(timeout=5)
    assert tell(service, "scheduled") == []
    assert node.log.count(f"Discarding revoked task: trial.mark[{held.id}]") == 1


@pytest.mark.parametrize("signame", ["SIGTERM", "KILL", "SIGUSR2"])
def test_terminate_kills_the_running_task_alone(service: Farm, signame: str) -> None:
    (node,) = service.nodes
    victim = service.send("mark", "victim", 60.0)
    other = service.send("mark", "other", 0.8)
    eventually(lambda: len(service.runs()) == 2)

    reply = tell(service, "terminate", task_id=victim.id, signal=signame)

    assert reply == {"ok": f"terminate: {victim.id}"}
    with pytest.raises(TaskRevokedError, match="terminated"):
        victim.get(timeout=5)
    assert other.get(timeout=5) == "other"
    assert service.send("add", 1, 2).get(timeout=5) == 3
    assert service.runs()["victim"] == 1
    assert f"trial.mark[{victim.id}] terminated by SIG" in node.log


def test_an_unknown_signal_is_refused(service: Farm) -> None:
    reply = tell(service, "terminate", task_id="x", signal="SIGNONE")

    assert "unknown signal 'SIGNONE'" in reply["error"]


def test_a_rate_limit_holds_back_and_its_end_lets_go(service: Farm) -> None:
    assert tell(service, "rate_limit", task_name="trial.tracked", rate_limit="10/m") == {
        "ok": "new rate limit set successfully"
    }
    for number in range(5):
        service.send("tracked", f"limited.{number}")
    assert service.send("mark", "free").get(timeout=5) == "free"
    began = time.monotonic()
    eventually(lambda: len(tell(service, "reserved")) == 4)
    assert "trial.tracked [rate_limit=10/m]" in tell(service, "registered")
    assert len(service.runs()) == 2 or time.monotonic() - began > 5

    tell(service, "rate_limit", task_name="trial.tracked", rate_limit="0")

    eventually(lambda: len(service.runs()) == 6, within=3)
    refusal = tell(service, "rate_limit", task_name="trial.tracked", rate_limit="10/parsec")
    assert refusal["error"].startswith("Invalid rate limit string: ")


def test_a_time_limit_holds_for_what_comes_after_it(farm: Farm) -> None:
    farm.start().ready()

    tell(farm, "time_limit", task_name="trial.mark", hard=0.4)

    with pytest.raises(TimeLimitExceeded):
        farm.send("mark", "slow", 30.0).get(timeout=5)


def test_queues_are_added_and_cancelled(service: Farm) -> None:
    extra = service.send("mark", "extra", queue="extra")

    assert tell(service, "add_consumer", queue="extra") == {"ok": "add consumer extra"}
    assert extra.get(timeout=5) == "extra"
    assert [queue["name"] for queue in tell(service, "active_queues")] == ["celery", "extra"]
    assert tell(service, "cancel_consumer", queue="extra") == {
        "ok": "no longer consuming from extra"
    }
    service.send("mark", "late", queue="extra")
    assert service.send("mark", "after").get(timeout=5) == "after"

    assert service.runs()["late"] == 0
    assert [queue["name"] for queue in tell(service, "active_queues")] == ["celery"]


def test_an_added_queue_is_still_consumed_after_a_reconnect(service: Farm) -> None:
    if not service.url.startswith("redis"):
        pytest.skip("a file has no connection to lose")
    import redis

    tell(service, "add_consumer", queue="extra")

    with redis.Redis.from_url(service.url) as client:
        client.client_kill_filter(_type="normal", skipme=True)

    assert service.send("mark", "extra", queue="extra").get(timeout=10) == "extra"


def test_the_pool_grows_and_shrinks(service: Farm) -> None:
    (node,) = service.nodes

    assert tell(service, "pool_grow", n=2) == {"ok": "pool will grow"}
    eventually(lambda: len(node.children()) == 4)
    assert tell(service, "pool_shrink", n=3) == {"ok": "pool will shrink"}
    eventually(lambda: len(node.children()) == 1)

    assert tell(service, "stats")["pool"]["max-concurrency"] == 1
    assert "at least 1 must stay" in tell(service, "pool_shrink", n=1)["error"]
    assert service.send("add", 1, 2).get(timeout=5) == 3


def test_autoscale_changes_its_limits(farm: Farm) -> None:
    node = farm.start(autoscale="3,1").ready()

    assert tell(farm, "autoscale", max=4, min=2) == {"ok": "autoscale now max=4 min=2"}

    eventually(lambda: len(node.children()) == 2)
    assert tell(farm, "stats")["autoscaler"] == {"max": 4, "min": 2, "current": 2, "qty": 0}
    assert "autoscale" in tell(farm, "pool_grow", n=1)["error"]
    assert "ValueError" in tell(farm, "autoscale", max=1, min=2)["error"]


def test_shutdown_is_answered_and_warm(farm: Farm) -> None:
    node = farm.start()
    running = farm.send("mark", "running", 0.5)
    eventually(lambda: farm.runs()["running"])

    assert "ok" in tell(farm, "shutdown")

    assert node.exit_code() == 0
    assert running.get(timeout=1) == "running"
    assert farm.app.control.ping(timeout=0.3) == []


def test_events_are_switched_on_and_off(service: Farm) -> None:
    with service.app.connection() as connection:
        broker = connection.broker
        broker.listen("celeryev", "#")

        assert tell(service, "enable_events") == {"ok": "task events enabled"}
        service.send("mark", "key").get(timeout=5)
        heard: list[str] = []

        def told() -> bool:
            heard.extend(str(one.routing_key) for one in broker.hear())
            return "task.multi" in heard and "worker.heartbeat" in heard

        eventually(told)
        assert tell(service, "disable_events") == {"ok": "task events disabled"}


def test_two_nodes_of_one_name_are_both_heard(farm: Farm) -> None:
    farm.start().ready()
    farm.start().ready()

    replies = farm.app.control.broadcast("ping", reply=True, timeout=1.0)
    with pytest.warns(UserWarning, match="two nodes are called"):
        farm.app.control.inspect(timeout=1.0).stats()

    assert replies is not None and len(replies) >= 1


def test_a_node_that_does_not_answer_is_named(farm: Farm) -> None:
    frozen = farm.start("frozen").ready()
    farm.start().ready()
    frozen.tell(signal.SIGSTOP)

    answer = farm.app.control.cluster.ask("ping", timeout=0.5)

    assert [reply.node for reply in answer.replies] == [NODE]
    assert list(answer.missing) == ["frozen@test"]
    assert answer.missing["frozen@test"] is not None
