"""The fleet as events tell of it, bounded in memory; and the cameras that look at it."""

from __future__ import annotations

import pickle
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctl.core.errors import ImproperlyConfigured
from taskctl.core.remote.event_state import State
from taskctl.core.remote.snapshot import Polaroid, parse_rate

from ..support.waiting import eventually


def told(type: str, uuid: str = "t", clock: int = 1, **fields: Any) -> dict[str, Any]:
    """Return an event as a receiver hands it over."""
    now = time.time()
    event = {"type": type, "hostname": "w1@h", "timestamp": now, "local_received": now, "pid": 7}
    if type.startswith("task-"):
        event["uuid"] = uuid
    return {**event, "clock": clock, **fields}


def state_of(*events: dict[str, Any], **options: Any) -> State:
    state = State(**options)
    for event in events:
        state.event(event)
    return state


# -- tasks


def test_a_task_goes_through_its_states() -> None:
    state = state_of(
        told("task-sent", hostname="gen1@h", name="add", queue="celery"),
        told("task-received", name="add", args="(2, 3)", retries=0),
        told("task-started"),
        told("task-succeeded", result="5", runtime=0.1),
    )

    task = state.tasks["t"]
    assert (task.name, task.state, task.result, task.runtime) == ("add", "SUCCESS", "5", 0.1)
    assert (task.client, task.worker and task.worker.hostname) == ("gen1@h", "w1@h")
    assert task.sent and task.received and task.started and task.succeeded and not task.failed
    assert task.ready and task.args == "(2, 3)"
    assert state.task_count == 1 and state.event_count == 4
    assert task.info(["result", "exception"]) == {"result": "5"}
    assert "add(t) SUCCESS" in repr(task)


def test_late_news_fill_in_and_take_nothing_back() -> None:
    state = state_of(
        told("task-succeeded", result="5"),
        told("task-started"),
        told("task-received", name="add", args="(2, 3)", result="no"),
    )

    task = state.tasks["t"]
    assert (task.state, task.result, task.name, task.args) == ("SUCCESS", "5", "add", "(2, 3)")


def test_after_a_retry_all_begins_anew() -> None:
    state = state_of(told("task-started"), told("task-retried", exception="E()"),
                     told("task-received", name="add"))  # fmt: skip

    assert state.tasks["t"].state == "RECEIVED"


def test_an_event_of_a_users_own_is_a_state_with_its_fields() -> None:
    task = state_of(told("task-started"), told("task-progress", done=50)).tasks["t"]

    assert (task.state, task.__dict__["done"]) == ("PROGRESS", 50)


def test_no_event_can_put_on_what_a_task_is() -> None:
    task = state_of(
        told("task-started", cluster_state=1, child_ids=2, event=3, ready=4, __class__=5, worker=6)
    ).tasks["t"]

    assert task.worker is not None and task.worker.hostname == "w1@h"
    assert not task.ready and callable(task.event) and task.children == set()


def test_parents_and_children_find_each_other_in_any_order() -> None:
    state = state_of(
        told("task-received", "c1", parent_id="p", root_id="p", name="c"),
        told("task-received", "p", name="p"),
        told("task-received", "c2", parent_id="p", root_id="p", name="c"),
    )

    parent = state.tasks["p"]
    assert {task.id for task in parent.children} == {"c1", "c2"}
    assert state.tasks["c1"].parent is state.tasks["c2"].root is parent
    assert sorted(parent.as_dict()["children"]) == ["c1", "c2"]


def test_tasks_are_found_by_name_by_node_and_by_time() -> None:
    state = state_of(
        told("task-received", "a", clock=3, name="add"),
        told("task-received", "b", clock=5, name="mul", hostname="w2@h"),
        told("task-received", "c", clock=4, name="add"),
    )

    assert {task.id for task in state.tasks_by_type["add"]} == {"a", "c"}
    assert [uuid for uuid, _ in state.tasks_by_type("add")] == ["c", "a"]
    assert [uuid for uuid, _ in state.tasks_by_worker("w1@h", limit=1)] == ["c"]
    assert [uuid for uuid, _ in state.tasks_by_time()] == ["b", "c", "a"]
    assert [uuid for uuid, _ in state.tasks_by_time(limit=1, reverse=False)] == ["a"]
    assert state.task_types() == ["add", "mul"]
    assert state.tasks_by_type["nothing"] == set() and "nothing" not in state.tasks_by_type


# -- workers


def test_a_worker_lives_for_two_heartbeats_and_leaves_in_peace() -> None:
    joined: list[Any] = []
    left: list[Any] = []
    state = state_of(
        told("worker-online", freq=2.0, active=1, processed=9, sw_ident="py-taskctl"),
        on_node_join=joined.append,
        on_node_leave=left.append,
    )
    (worker,) = state.alive_workers()
    assert (worker.id, worker.active, worker.processed) == ("w1@h.7", 1, 9)
    assert worker.status_string == "ONLINE"

    worker.heartbeats[:] = [time.time() - 4.1]
    assert not worker.alive
    state.event(told("worker-heartbeat", freq=2.0))
    assert worker.alive
    state.event(told("worker-offline"))

    assert (joined, left, list(state.workers)) == ([worker], [worker], [])


def test_a_clock_that_is_far_off_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    far = time.time() - 100

    state_of(told("worker-heartbeat", timestamp=far), told("worker-heartbeat", timestamp=far))

    assert caplog.text.count("the clock of w1@h is 100 s away from ours") == 1


# -- memory, threads, odd input


def test_memory_is_bounded_and_who_was_heard_of_lately_stays() -> None:
    state = state_of(max_tasks_in_memory=10, max_workers_in_memory=3)
    for number in range(100):
        state.event(told("task-received", "kept", name="kept"))
        state.event(told("task-received", f"t{number}", name=f"n{number}", parent_id=f"p{number}",
                         hostname=f"w{number}@h"))  # fmt: skip

    assert len(state.tasks) == 10 and "kept" in state.tasks and "t99" in state.tasks
    assert len(state.workers) == 3
    assert len(state.tasks_by_type) == 10 and len(state.tasks_by_worker) <= 10
    assert len(state._orphans) == 9


@given(st.lists(st.dictionaries(
    st.sampled_from(["type", "uuid", "hostname", "timestamp", "local_received", "clock", "name",
                     "parent_id", "freq"]),
    st.one_of(st.none(), st.integers(), st.text(max_size=3), st.sampled_from(
        ["task-received", "task-failed", "worker-online", "worker-offline", "a"])))))  # fmt: skip
def test_no_event_breaks_it(events: list[dict[str, Any]]) -> None:
    state = State(max_tasks_in_memory=3, max_workers_in_memory=2)

    for event in events:
        state.event(event)

    assert state.event_count == len(events)
    assert len(state.tasks) <= 3 and len(state.workers) <= 2


def test_other_groups_go_to_handlers_and_a_callback_sees_all() -> None:
    seen: list[Any] = []
    state = State(callback=lambda state, event: seen.append(event["type"]))
    state.handlers["shop"] = lambda subject, event: f"{subject}!"

    assert state.event({"type": "shop-sold-out"}) == ("sold-out!", "sold-out")
    assert state.event({"type": "unheard-of"}) is None
    assert state.worker_event("online", told("worker-online"))[1] is True
    assert state.task_event("sent", told("task-sent"))[0].state == "PENDING"
    assert seen[0] == "shop-sold-out"


def test_it_can_be_kept_and_taken_up_again() -> None:
    state = state_of(told("worker-online"), told("task-received", name="add"))

    again = pickle.loads(pickle.dumps(state))
    again.event(told("task-succeeded", result="5"))

    assert again.tasks["t"].state == "SUCCESS"
    assert {task.id for task in again.tasks_by_type["add"]} == {"t"}
    assert list(again.workers) == ["w1@h"]


def test_clearing_keeps_what_has_not_ended() -> None:
    state = state_of(told("task-started", "runs", name="a"), told("task-failed", "ended", name="a"))

    state.clear()

    assert list(state.tasks) == ["runs"] and not state.workers and not state.event_count
    assert {task.id for task in state.tasks_by_type["a"]} == {"runs"}
    state.clear(ready=False)
    assert not state.tasks


def test_while_it_is_frozen_no_event_counts() -> None:
    state = State()
    thread = threading.Thread(target=lambda: state.event(told("worker-online")))

    def look() -> int:
        thread.start()
        thread.join(0.05)
        return state.event_count

    assert state.freeze_while(look) == 0
    thread.join(5)
    assert state.event_count == 1


# -- cameras


class Camera(Polaroid):
    """Notes what it sees."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.seen: list[int] = []
        self.cleaned = 0

    def on_shutter(self, state: State) -> None:
        self.seen.append(state.event_count)
        if len(self.seen) == 2:
            raise RuntimeError("a jam")

    def on_cleanup(self) -> None:
        self.cleaned += 1


def test_a_camera_goes_on_after_a_jam_and_takes_a_last_picture(
    caplog: pytest.LogCaptureFixture,
) -> None:
    state = State()

    with Camera(state, freq=0.01, cleanup_freq=0.01) as camera:
        eventually(lambda: len(camera.seen) > 3 and camera.cleaned)
        taken = len(camera.seen)
        state.event(told("worker-online"))

    assert len(camera.seen) > taken and camera.seen[-1] == 1
    assert "the camera broke down" in caplog.text


def test_a_rate_limits_pictures() -> None:
    camera = Camera(State(), maxrate="1/h")

    for _ in range(5):
        camera.capture()

    assert len(camera.seen) == 1


@pytest.mark.parametrize(("text", "rate"), [("10/m", 1 / 6), ("2/s", 2), ("36/h", 0.01), (3, 3)])
def test_rates_are_read(text: str | float, rate: float) -> None:
    assert parse_rate(text) == pytest.approx(rate)


@pytest.mark.parametrize("text", ["", "x", "10/y", "0/s", "-1/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="is no rate: write 10/m"):
        parse_rate(text)


def test_who_listens_hears_of_each_picture() -> None:
    state, heard = State(), []

    def listener(sender: State, **_: Any) -> None:
        heard.append(sender)

    Polaroid.shutter_signal.connect(listener)
    Polaroid(state).capture()
    Polaroid.shutter_signal.disconnect(listener)

    assert heard == [state]
