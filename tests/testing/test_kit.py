"""The fixtures of `taskctl.testing`, as a user's tests use them."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskctl import App, Limit, Unique, chain, chord, group
from taskctl.core import clock as house_clock
from taskctl.core import current
from taskctl.core.errors import EncodeError, Reject
from taskctl.testing import StillWaiting, worker_for

app = App("kit", set_as_current=False, broker="sqlite:////nowhere/queue.db")


@app.task(name="kit.add")
def add(x: int, y: int) -> int:
    return x + y


@app.task(name="kit.total")
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(name="kit.flaky", bind=True, max_retries=3)
def flaky(self: Any) -> int:
    if self.request.retries < 2:
        raise self.retry(countdown=60)
    return int(self.request.retries)


@app.task(name="kit.boom")
def boom(*args: Any) -> None:
    raise LookupError("no such thing")


@app.task(name="kit.outer")
def outer() -> int:
    result = add.delay(20, 1)
    return int(result.get(disable_sync_subtasks=False)) * 2


@app.task(name="kit.limited", rate_limit="6/m")
def limited(n: int) -> int:
    return n


@app.task(name="kit.shared", rate_limit=Limit("6/m", scope="global"))
def shared(n: int) -> int:
    return n


@app.task(name="kit.once", unique=Unique(until=600))
def once(n: int) -> int:
    return n


@app.task(name="kit.forever")
def forever() -> None:
    forever.delay()


@app.task(name="kit.sleeper")
async def sleeper(n: int) -> int:
    await asyncio.sleep(0)
    return 2 * n


@app.task(name="kit.refused")
def refused() -> None:
    raise Reject("not for us")


EVERY_MINUTE = {"sums": {"task": "kit.add", "schedule": 60.0, "args": (1, 2)}}


@pytest.fixture
def taskctl_app() -> App:
    return app


def test_nothing_runs_before_the_worker_is_told_to(taskctl_worker: Any) -> None:
    result = add.delay(2, 2)
    assert not result.ready()

    (ran,) = taskctl_worker.run_until_idle()

    assert (ran.task, ran.end, ran.text) == ("kit.add", "succeeded", "4")
    assert result.get() == 4


def test_whoever_waits_for_a_result_lets_the_worker_work(taskctl_worker: Any) -> None:
    assert add.delay(2, 2).get() == 4
    assert chain(add.s(1, 2), add.s(3), add.s(4)).delay().get() == 10
    assert group(add.s(i, i) for i in range(3)).delay().get() == [0, 2, 4]
    assert chord([add.s(i, i) for i in range(5)], total.s()).delay().get() == 20


def test_a_task_that_waits_for_another_lets_it_run(taskctl_worker: Any) -> None:
    assert outer.delay().get() == 42


def test_a_retry_runs_when_the_clock_has_moved_on(
    taskctl_worker: Any, taskctl_clock: Any, taskctl_published: Any
) -> None:
    result = flaky.delay()
    taskctl_worker.run_until_idle()
    assert result.state == "RETRY"
    taskctl_published.assert_sent(flaky, countdown=60, retries=1)

    taskctl_clock.advance(60)
    taskctl_clock.advance(timedelta(minutes=1))

    assert result.get() == 2
    assert [ran.end for ran in taskctl_worker.ran] == ["retried", "retried", "succeeded"]


def test_one_advance_goes_through_all_that_comes_due_on_the_way(
    taskctl_worker: Any, taskctl_clock: Any
) -> None:
    result = flaky.delay()

    taskctl_clock.advance(3600)

    assert result.get() == 2


def test_a_jump_is_time_with_nobody_at_work(taskctl_worker: Any, taskctl_clock: Any) -> None:
    result = flaky.delay()

    taskctl_clock.jump(3600)
    taskctl_worker.run_until_idle()

    assert result.state == "RETRY"
    assert taskctl_clock.next_due() == taskctl_clock.time() + 60


def test_a_wait_that_would_never_end_says_what_to_do(
    taskctl_worker: Any, taskctl_clock: Any
) -> None:
    result = add.apply_async((1, 1), countdown=3600)

    with pytest.raises(StillWaiting, match=r"kit.add.*due in 3600 s: clock.advance\(3600\)"):
        result.get()
    with pytest.raises(TimeoutError):
        result.get(timeout=5)

    taskctl_clock.advance(3600)
    assert result.get() == 2


def test_without_a_worker_a_wait_names_the_fixture(taskctl_published: Any) -> None:
    result = add.delay(1, 1)

    with pytest.raises(StillWaiting, match="ask for the fixture `worker`"):
        result.get()


def test_what_expired_is_revoked(taskctl_worker: Any, taskctl_clock: Any) -> None:
    late = add.apply_async((1, 1), countdown=60, expires=30)
    early = add.apply_async((1, 1), countdown=60, expires=90)

    taskctl_clock.advance(60)

    assert (late.state, early.state) == ("REVOKED", "SUCCESS")


def test_rate_limits_go_by_the_clock(taskctl_worker: Any, taskctl_clock: Any) -> None:
    for n in range(12):
        limited.delay(n)

    counts = []
    for _ in range(3):
        taskctl_clock.advance(30)
        counts.append(len(taskctl_worker.ran))

    assert counts == [4, 7, 10]


def test_limits_for_all_workers_go_by_the_clock(taskctl_worker: Any, taskctl_clock: Any) -> None:
    for n in range(12):
        shared.delay(n)

    counts = []
    for _ in range(10):
        taskctl_clock.advance(30)
        counts.append(len(taskctl_worker.ran))

    assert counts[-1] == 12
    assert [n for place, n in enumerate(counts, 1) if n > 3 * place + 1] == []


def test_what_is_unique_for_a_while_is_so_by_the_clock(
    taskctl_worker: Any, taskctl_clock: Any
) -> None:
    def ends() -> list[str]:
        for _ in range(2):
            once.delay(1)
        return [ran.end for ran in taskctl_worker.run_until_idle()]

    assert ends() == ["succeeded"]
    taskctl_clock.advance(599)
    assert ends() == []
    taskctl_clock.advance(2)
    assert ends() == ["succeeded"]


@pytest.mark.taskctl(beat_schedule=EVERY_MINUTE, now=datetime(2026, 3, 1, tzinfo=UTC))
def test_schedules_go_by_the_clock(
    taskctl_worker: Any, taskctl_beat: Any, taskctl_clock: Any, taskctl_published: Any
) -> None:
    taskctl_clock.advance(3600)

    assert taskctl_beat.sent == ["sums"] * 60
    assert [ran.text for ran in taskctl_worker.ran] == ["3"] * 60
    assert taskctl_clock.now == datetime(2026, 3, 1, 1, tzinfo=UTC)
    assert taskctl_published[0].sent_at == datetime(2026, 3, 1, 0, 1, tzinfo=UTC).timestamp()


def test_a_failure_is_kept_with_its_own_traceback(taskctl_worker: Any) -> None:
    result = boom.delay()

    taskctl_worker.run_until_idle()

    (failed,) = taskctl_worker.failures
    assert "in boom" in failed.traceback
    assert isinstance(failed.exception, LookupError)
    with pytest.raises(LookupError, match="no such thing"):
        result.get()
    with pytest.raises(LookupError, match="no such thing"):
        taskctl_worker.raise_failure()
    taskctl_worker.raise_failure()  # once is enough
    with pytest.raises(AssertionError, match="in boom"):
        taskctl_worker.assert_no_failures()


@pytest.mark.taskctl(propagate=True)
def test_failures_are_raised_at_once_if_that_is_asked_for(taskctl_worker: Any) -> None:
    boom.delay()

    with pytest.raises(LookupError, match="no such thing") as caught:
        taskctl_worker.run_until_idle()

    assert "in boom" in caught.value.__notes__[0]


def test_a_task_that_calls_itself_for_ever_is_an_error(
    taskctl_worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskctl.testing.inprocess.MOST", 50)
    forever.delay()

    with pytest.raises(RuntimeError, match="does a task call itself"):
        taskctl_worker.run_until_idle()


def test_tasks_run_one_by_one(taskctl_worker: Any) -> None:
    for n in range(3):
        add.delay(n, 0)

    assert taskctl_worker.run_one().text == "0"
    assert len(taskctl_worker.run_while(lambda: len(taskctl_worker.ran) < 2)) == 1
    assert len(taskctl_worker.run_until_idle()) == 1
    assert taskctl_worker.run_one() is None


def test_every_queue_is_served_unless_some_are_named(taskctl_published: Any) -> None:
    with worker_for(app) as worker:
        assert add.apply_async((1, 1), queue="images").get() == 2
        worker.published.assert_sent(add, queue="images", args=(1, 1))
    with worker_for(app, queues="celery") as worker:
        add.apply_async((1, 1), queue="images")
        assert worker.run_until_idle() == []


def test_arguments_travel_as_messages_do(taskctl_worker: Any) -> None:
    assert total.delay((1, 2, 3)).get() == 6
    with pytest.raises(EncodeError):
        add.delay(object(), 1)


def test_a_revoked_task_does_not_run(taskctl_worker: Any) -> None:
    result = add.delay(1, 1)
    result.revoke()

    taskctl_worker.run_until_idle()

    assert result.state == "REVOKED"


def test_a_rejected_message_is_no_call(taskctl_worker: Any, taskctl_published: Any) -> None:
    refused.delay()
    taskctl_worker.run_until_idle()

    assert [call.task for call in taskctl_published] == ["kit.refused"]
    assert taskctl_worker.ran[0].end == "rejected"


def test_what_was_sent_is_shown_when_a_check_fails(taskctl_published: Any) -> None:
    taskctl_published.assert_not_sent()
    add.apply_async((1, 2), countdown=5, queue="sums")

    call = taskctl_published.assert_sent("kit.add", args=[1, 2], countdown=5, times=1)

    assert call is taskctl_published[-1] is taskctl_published.to(add)[0]
    assert (call.kwargs, call.queue, call.retries, call.root_id) == ({}, "sums", 0, call.id)
    with pytest.raises(
        AssertionError, match=r"(?s)with queue='other'.*Sent:\n  kit.add\(1, 2\) to sums, in 5 s"
    ):
        taskctl_published.assert_sent(add, queue="other")
    with pytest.raises(AssertionError, match="was to be sent 2 times, and was 1 times"):
        taskctl_published.assert_sent(add, times=2)
    with pytest.raises(AssertionError, match="1 calls were not to be sent"):
        taskctl_published.assert_not_sent(add)
    taskctl_published.clear()
    assert len(taskctl_published) == 0


@pytest.mark.taskctl(task_default_queue="other")
def test_settings_are_those_of_the_mark(taskctl_published: Any) -> None:
    add.delay(1, 1)

    assert taskctl_published[0].queue == "other"


def test_afterwards_all_is_as_it_was() -> None:
    before = (app.broker_url(), app.conf.task_default_queue, app.backend_url())
    current_before = current.get_app(make=False)

    with worker_for(app, settings={"task_default_queue": "x"}, now=0) as worker:
        assert app.broker_url().startswith("memory://test-")
        assert worker.clock.now == datetime(1970, 1, 1, tzinfo=UTC)
        assert app.now().year == 1970

    assert (app.broker_url(), app.conf.task_default_queue, app.backend_url()) == before
    assert house_clock.now is time.time
    assert current.get_app(make=False) is current_before


def test_coroutines_await_results(taskctl_worker: Any, taskctl_clock: Any) -> None:
    async def play() -> list[Any]:
        late = add.apply_async((2, 2), countdown=60)
        first = await add.delay(1, 1)
        awaited = asyncio.create_task(late.aget())
        await asyncio.sleep(0)
        taskctl_clock.jump(60)
        return [first, await awaited]

    assert asyncio.run(play()) == [2, 4]


def test_coroutines_run_as_tasks(taskctl_worker: Any) -> None:
    assert sleeper.delay(3).get() == 6


def test_a_clock_runs_forward(taskctl_clock: Any) -> None:
    with pytest.raises(ValueError, match="5 s back was asked for"):
        taskctl_clock.advance(-5)
