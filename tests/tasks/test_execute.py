"""What a child does with one message: the outcome of every way a task can end."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskctl.core import current, interrupts, signals
from taskctl.core.app import App
from taskctl.core.backends.memory import MemoryBackend
from taskctl.core.errors import (
    EncodeError,
    Ignore,
    NotRegistered,
    Reject,
    Retry,
    SoftTimeLimitExceeded,
    WorkerLostError,
)
from taskctl.core.messaging.producer import gather
from taskctl.core.tasks.canvas import chain, group
from taskctl.core.tasks.execute import Executor, failure_followers
from taskctl.core.tasks.metas import (
    failure_meta,
    not_registered_meta,
    revoked_meta,
)
from taskctl.core.tasks.task import Task
from taskctl.core.wire.message import Publication, decode_envelope, encode_envelope
from taskctl.core.wire.outcome import (
    FAILED,
    IGNORED,
    INVALID,
    REJECTED,
    RETRIED,
    SUCCEEDED,
    Outcome,
    decode_outcome,
    encode_outcome,
)
from taskctl.core.wire.result_meta import decode_meta
from taskctl.core.wire.task_message import decode_body, decode_task


@pytest.fixture
def app() -> Iterator[App]:
    name = str(uuid4())
    app = App("proj", broker=f"memory://{name}", backend=f"memory://{name}", set_as_current=False)
    yield app
    app.close()


@pytest.fixture
def executor(app: App) -> Executor:
    """Booted on first use, so that a test can define its tasks before."""
    return Executor(app, hostname="w1@host")


@pytest.fixture(autouse=True)
def leave_no_current_app() -> Iterator[None]:
    before = current.get_app(make=False)
    yield
    current.set_app(before)
    interrupts.reset()


def call(task: Any, *args: Any, **options: Any) -> bytes:
    """Return the message of one call."""
    options.setdefault("task_id", "id-1")
    with gather() as publications:
        task.apply_async(args, **options)
    return publications[0].envelope


def run(executor: Executor, envelope: bytes, **delivery: Any) -> Outcome:
    if not executor._plans:
        executor.boot()
    outcome = executor.run(envelope, **delivery)
    assert current.current_task() is None
    return decode_outcome(encode_outcome(outcome))


def metas(outcome: Outcome) -> dict[str, dict[str, Any]]:
    return {stored.task_id: decode_meta(stored.meta) for stored in outcome.results}


def sent(publication: Publication) -> tuple[dict[str, Any], Any]:
    """Return the headers and the body of a message."""
    message = decode_envelope(publication.envelope)
    return message.headers, decode_body(message, None)


# --- success --------------------------------------------------------------------------------


def test_a_success_stores_its_value(app: App, executor: Executor) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    outcome = run(executor, call(add, 2, 3))

    assert (outcome.kind, outcome.text, outcome.traceback) == (SUCCEEDED, "5", "")
    assert outcome.runtime > 0
    meta = metas(outcome)["id-1"]
    assert (meta["status"], meta["result"], meta["children"]) == ("SUCCESS", 5, [])
    assert meta["date_done"].endswith("+00:00")
    assert "parent_id" not in meta
    assert outcome.publications == []


@pytest.mark.parametrize(
    ("of_task", "of_call", "stored"),
    [
        (False, None, True),
        (True, None, False),
        (True, False, True),
        (False, True, False),
    ],
)
def test_the_call_then_the_task_say_whether_the_result_is_stored(
    app: App, executor: Executor, of_task: bool, of_call: bool | None, stored: bool
) -> None:
    @app.task(ignore_result=of_task)
    def one() -> int:
        return 1

    options = {} if of_call is None else {"ignore_result": of_call}
    outcome = run(executor, call(one, **options))

    assert (outcome.kind, bool(outcome.results)) == (SUCCEEDED, stored)


def test_without_a_backend_nothing_is_stored(executor: Executor) -> None:
    app = App("proj", broker=f"memory://{uuid4()}", backend="disabled", set_as_current=False)

    @app.task
    def one() -> int:
        return 1

    assert run(Executor(app), call(one)).results == []


def test_a_link_is_sent_with_the_value_first(app: App, executor: Executor) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    outcome = run(executor, call(add, 2, 3, link=add.s(10)))

    headers, body = sent(outcome.publications[0])
    assert (headers["task"], body.args) == (add.name, [5, 10])
    assert (headers["parent_id"], headers["root_id"], headers["group"]) == ("id-1", "id-1", None)
    assert metas(outcome)["id-1"]["children"] == [[[headers["id"], None], None]]


def test_several_links_travel_as_one_group(app: App, executor: Executor) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    outcome = run(executor, call(add, 2, 3, link=[add.s(10), add.si(1, 1)]))

    messages = [sent(publication) for publication in outcome.publications]
    assert [body.args for _, body in messages] == [[5, 10], [1, 1]]
    assert messages[0][0]["group"] is not None
    assert messages[0][0]["group"] == messages[1][0]["group"]
    assert [headers["group_index"] for headers, _ in messages] == [0, 1]


def test_the_next_chain_step_gets_the_value_and_the_rest(app: App, executor: Executor) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    with gather() as publications:
        last = chain(add.s(4, 4), add.s(1), add.si(7, 7), app=app).apply_async()
    first = publications[0].envelope

    outcome = run(executor, first)

    headers, body = sent(outcome.publications[0])
    assert body.args == [8, 1]
    assert [step["args"] for step in body.chain] == [[7, 7]]
    assert headers["id"] == last.parent.id
    second = run(executor, outcome.publications[0].envelope)
    headers, body = sent(second.publications[0])
    assert (body.args, body.chain, headers["id"]) == ([7, 7], [], last.id)
    assert run(executor, second.publications[0].envelope).publications == []


def test_a_chain_may_end_in_a_group(app: App, executor: Executor) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    with gather() as publications:
        chain(add.s(1, 1), group([add.s(10), add.s(20)], app=app), app=app).apply_async()

    outcome = run(executor, publications[0].envelope)

    assert [sent(publication)[1].args for publication in outcome.publications] == [
        [2, 10],
        [2, 20],
    ]


def test_a_task_can_cut_its_own_chain(app: App, executor: Executor) -> None:
    @app.task(bind=True)
    def stop(self: Any) -> None:
        self.request.chain = None
        self.request.callbacks = None

    with gather() as publications:
        chain(stop.s(), stop.si(), app=app).apply_async()

    outcome = run(executor, publications[0].envelope)

    assert (outcome.kind, outcome.publications) == (SUCCEEDED, [])


def test_followers_inherit_the_priority_when_asked(app: App) -> None:
    app.conf.task_inherit_parent_priority = True

    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    outcome = run(Executor(app), call(add, 2, 3, link=add.s(1), priority=6))

    assert outcome.publications[0].priority == 6


def test_a_result_that_cannot_be_written_is_a_failure(app: App, executor: Executor) -> None:
    @app.task
    def opaque() -> object:
        return object()

    outcome = run(executor, call(opaque, link=opaque.si()))

    assert (outcome.kind, outcome.publications) == (FAILED, [])
    meta = metas(outcome)["id-1"]
    assert meta["status"] == "FAILURE"
    assert isinstance(meta["result"], EncodeError)
    assert "cannot encode as json" in outcome.text


def test_a_value_that_cannot_be_sent_on_is_a_failure(app: App, executor: Executor) -> None:
    @app.task(ignore_result=True)
    def opaque() -> object:
        return object()

    @app.task
    def take(value: Any) -> None: ...

    outcome = run(executor, call(opaque, link=take.s()))

    assert (outcome.kind, outcome.publications) == (FAILED, [])
    assert "argument value cannot be sent as json" in outcome.text


def test_calls_made_inside_become_children(app: App, executor: Executor) -> None:
    @app.task
    def leaf() -> None: ...

    @app.task
    def parent() -> str:
        return leaf.delay().id

    outcome = run(executor, call(parent))

    meta = metas(outcome)["id-1"]
    assert meta["children"] == [[[meta["result"], None], None]]
    assert outcome.publications == []


def test_a_result_object_is_stored_as_its_ids(app: App, executor: Executor) -> None:
    @app.task
    def parent() -> Any:
        return app.AsyncResult("other")

    assert metas(run(executor, call(parent)))["id-1"]["result"] == [["other", None], None]


def test_the_lineage_of_the_call_is_stored(app: App, executor: Executor) -> None:
    @app.task
    def one() -> int:
        return 1

    outcome = run(executor, call(one, group_id="g-1", parent_id="p-1", root_id="r-1"))

    meta = metas(outcome)["id-1"]
    assert (meta["group_id"], meta["parent_id"]) == ("g-1", "p-1")


def test_extended_results_tell_of_the_call(app: App, executor: Executor) -> None:
    app.conf.result_extended = True

    @app.task(name="proj.add")
    def add(x: int, y: int = 0) -> int:
        return x + y

    outcome = run(executor, call(add, 2, kwargs={"y": 3}, queue="hipri"))

    meta = metas(outcome)["id-1"]
    assert (meta["name"], meta["args"], meta["kwargs"]) == ("proj.add", [2], {"y": 3})
    assert (meta["worker"], meta["retries"], meta["queue"]) == ("w1@host", 0, "hipri")


def test_arguments_that_do_not_fit_the_result_serializer_are_stored_as_text(app: App) -> None:
    app.conf.result_extended = True
    app.conf.accept_content = ["pickle"]

    @app.task(serializer="pickle")
    def take(value: Any) -> int:
        return 1

    outcome = run(Executor(app), call(take, {1, 2}))

    meta = metas(outcome)["id-1"]
    assert (meta["status"], meta["result"]) == ("SUCCESS", 1)
    assert "{1, 2}" in meta["args"]


def test_dates_are_in_the_zone_of_the_app(app: App, executor: Executor) -> None:
    app.conf.timezone = "Asia/Kathmandu"

    @app.task
    def one() -> int:
        return 1

    assert metas(run(executor, call(one)))["id-1"]["date_done"].endswith("+05:45")


def test_a_coroutine_is_run_and_its_value_stored(app: App, executor: Executor) -> None:
    @app.task
    async def later(x: int) -> str:
        await asyncio.sleep(0)
        return f"{current.current_task().name.rpartition('.')[2]} {x}"  # type: ignore[union-attr]

    assert metas(run(executor, call(later, 4)))["id-1"]["result"] == "later 4"


def test_only_failures_bear_texts_when_nobody_asked(app: App, executor: Executor) -> None:
    @app.task
    def div(x: int, y: int) -> float:
        return x / y

    good = run(executor, call(div, 1, 1), describe=False)
    bad = run(executor, call(div, 1, 0), describe=False)

    assert good.text == ""
    assert "ZeroDivisionError" in bad.text
    assert "ZeroDivisionError" in bad.traceback
    assert "ZeroDivisionError" in metas(bad)["id-1"]["traceback"]


def test_a_long_value_is_cut_in_the_text(app: App, executor: Executor) -> None:
    @app.task(resultrepr_maxsize=50)
    def long() -> list[int]:
        return list(range(1000))

    outcome = run(executor, call(long))

    assert outcome.text.startswith("[0, 1, 2")
    assert len(outcome.text) < 70


def test_a_task_with_a_backend_of_its_own_is_stored_there(app: App, executor: Executor) -> None:
    apart = MemoryBackend(f"memory://{uuid4()}")

    @app.task(backend=apart)
    def one() -> int:
        return 1

    assert run(executor, call(one)).results == []
    assert decode_meta(apart.load(["id-1"])["id-1"])["result"] == 1


def test_a_redelivered_task_that_has_succeeded_is_not_run_again_when_asked(app: App) -> None:
    app.conf.worker_deduplicate_successful_tasks = True
    runs: list[int] = []

    @app.task
    def once(x: int) -> int:
        runs.append(x)
        return x + 1

    executor = Executor(app)
    envelope = call(once, 1, link=once.s())
    app.backend.store(run(executor, envelope).results)

    again = run(executor, envelope, redelivered=True)

    assert (again.kind, again.results, runs) == (SUCCEEDED, [], [1])
    assert [sent(publication)[1].args for publication in again.publications] == [[2]]
    assert run(executor, envelope).kind == SUCCEEDED
    assert runs == [1, 1]


# --- failure --------------------------------------------------------------------------------


def test_a_failure_stores_the_exception_and_the_users_frames(app: App, executor: Executor) -> None:
    @app.task
    def div(x: int, y: int) -> float:
        return x / y

    outcome = run(executor, call(div, 1, 0))

    assert (outcome.kind, outcome.expected) == (FAILED, False)
    assert outcome.text == "ZeroDivisionError('division by zero')"
    meta = metas(outcome)["id-1"]
    assert isinstance(meta["result"], ZeroDivisionError)
    lines = meta["traceback"].splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "in div" in lines[1]
    assert "/core/tasks/" not in meta["traceback"]
    assert outcome.traceback == meta["traceback"]


def test_a_wrong_number_of_arguments_says_so(app: App, executor: Executor) -> None:
    @app.task(typing=False)
    def add(x: int, y: int) -> int:
        return x + y

    outcome = run(executor, call(add, 1))

    assert outcome.kind == FAILED
    assert "missing 1 required positional argument: 'y'" in outcome.text
    assert outcome.traceback.startswith("TypeError")


def test_an_expected_exception_is_marked(app: App, executor: Executor) -> None:
    @app.task(throws=(KeyError,))
    def look(name: str) -> Any:
        return {}[name]

    assert run(executor, call(look, "x")).expected


def test_errors_of_ignored_tasks_are_stored_only_when_asked(app: App, executor: Executor) -> None:
    @app.task(ignore_result=True)
    def silent() -> None:
        raise ValueError("silent")

    @app.task(ignore_result=True, store_errors_even_if_ignored=True)
    def loud() -> None:
        raise ValueError("loud")

    assert run(executor, call(silent)).results == []
    assert metas(run(executor, call(loud)))["id-1"]["status"] == "FAILURE"


def test_the_rest_of_the_chain_fails_with_the_same_exception(app: App, executor: Executor) -> None:
    @app.task
    def boom() -> None:
        raise ValueError("early")

    @app.task
    def step(x: Any = None) -> None: ...

    with gather() as publications:
        last = chain(boom.s(), step.s(), step.s(), app=app).apply_async()

    outcome = run(executor, publications[0].envelope)

    stored = metas(outcome)
    ids = [last.id, last.parent.id, last.parent.parent.id]
    assert sorted(stored) == sorted(ids)
    for task_id in ids:
        assert stored[task_id]["status"] == "FAILURE"
        assert stored[task_id]["result"].args == ("early",)
    assert outcome.publications == []


def test_a_follower_that_ignores_its_result_is_not_marked(app: App, executor: Executor) -> None:
    @app.task
    def boom() -> None:
        raise ValueError("early")

    @app.task(ignore_result=True)
    def step(x: Any = None) -> None: ...

    with gather() as publications:
        last = chain(boom.s(), step.s(), app=app).apply_async()

    outcome = run(executor, publications[0].envelope)

    assert list(metas(outcome)) == [last.parent.id]


def test_the_members_of_a_group_at_the_end_of_the_chain_fail_too(
    app: App, executor: Executor
) -> None:
    @app.task
    def boom() -> None:
        raise ValueError("early")

    @app.task
    def step(x: Any = None) -> None: ...

    with gather() as publications:
        results = chain(boom.s(), group([step.s(), step.s()], app=app), app=app).apply_async()

    stored = metas(run(executor, publications[0].envelope))

    assert {member.id for member in results} < set(stored)
    assert {meta["status"] for meta in stored.values()} == {"FAILURE"}


def test_an_errback_of_one_argument_is_sent_the_failed_id(app: App, executor: Executor) -> None:
    @app.task
    def boom() -> None:
        raise ValueError("bad")

    @app.task
    def report(task_id: str) -> None: ...

    outcome = run(executor, call(boom, link_error=report.s()))

    headers, body = sent(outcome.publications[0])
    assert (headers["task"], body.args) == (report.name, ["id-1"])
    assert (headers["parent_id"], headers["root_id"]) == ("id-1", "id-1")
    assert headers["group"] is not None


def test_an_errback_of_three_arguments_is_called_in_place(app: App, executor: Executor) -> None:
    calls: list[Any] = []

    @app.task
    def boom() -> None:
        raise ValueError("bad")

    @app.task
    def report(request: Any, exc: Any, traceback: Any) -> None:
        calls.append((request.id, exc.args, "in boom" in traceback))

    outcome = run(executor, call(boom, link_error=report.s()))

    assert calls == [("id-1", ("bad",), True)]
    assert outcome.publications == []


def test_stored_arguments_count_when_an_errback_is_judged(app: App, executor: Executor) -> None:
    @app.task
    def boom() -> None:
        raise ValueError("bad")

    @app.task
    def report(task_id: str, channel: str) -> None: ...

    outcome = run(executor, call(boom, link_error=report.s("mail")))

    assert sent(outcome.publications[0])[1].args == ["id-1", "mail"]


def test_a_bound_or_unknown_errback_is_sent(app: App, executor: Executor) -> None:
    @app.task
    def boom() -> None:
        raise ValueError("bad")

    @app.task(bind=True)
    def report(self: Any, task_id: str, more: Any = None) -> None: ...

    elsewhere = app.signature("elsewhere.report")
    outcome = run(executor, call(boom, link_error=[report.s(), elsewhere]))

    assert [sent(publication)[0]["task"] for publication in outcome.publications] == [
        report.name,
        "elsewhere.report",
    ]


def test_an_errback_that_raises_is_logged(
    app: App, executor: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task
    def boom() -> None:
        raise ValueError("bad")

    @app.task
    def report(request: Any, exc: Any, traceback: Any) -> None:
        raise KeyError("worse")

    outcome = run(executor, call(boom, link_error=report.s()))

    assert outcome.text == "ValueError('bad')"
    assert "errback" in caplog.text
    assert "worse" in caplog.text


@pytest.mark.parametrize("exc", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_a_task_cannot_end_its_child(app: App, executor: Executor, exc: BaseException) -> None:
    @app.task
    def leave() -> None:
        raise exc

    outcome = run(executor, call(leave))

    assert outcome.kind == FAILED
    error = metas(outcome)["id-1"]["result"]
    assert isinstance(error, WorkerLostError)
    assert f"{leave.name} raised {exc!r}" in str(error)
    assert "in leave" in outcome.traceback


def test_running_out_of_memory_is_a_failure_like_others(app: App, executor: Executor) -> None:
    @app.task
    def greedy() -> None:
        raise MemoryError("no more")

    assert isinstance(metas(run(executor, call(greedy)))["id-1"]["result"], MemoryError)


def test_endless_recursion_is_a_failure_like_others(app: App, executor: Executor) -> None:
    @app.task
    def deep() -> None:
        def down() -> None:
            down()

        down()

    outcome = run(executor, call(deep))

    assert outcome.kind == FAILED
    assert "RecursionError" in outcome.text
    assert len(outcome.traceback) < 10_000


def test_an_exception_whose_repr_raises_is_still_a_failure(app: App, executor: Executor) -> None:
    class Broken(Exception):
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

        __str__ = __repr__

    @app.task
    def boom() -> None:
        raise Broken(object())

    outcome = run(executor, call(boom))

    assert outcome.kind == FAILED
    assert "unprintable Broken" in outcome.text


def test_a_soft_limit_that_comes_too_early_waits_for_the_users_code(
    app: App, executor: Executor
) -> None:
    ran: list[int] = []

    @app.task
    def slow() -> None:
        ran.append(1)

    envelope = call(slow)
    executor.boot()
    interrupts.interrupt(SoftTimeLimitExceeded())

    outcome = run(executor, envelope)

    assert (outcome.kind, ran) == (FAILED, [])
    assert isinstance(metas(outcome)["id-1"]["result"], SoftTimeLimitExceeded)


# --- retry, ignore, reject --------------------------------------------------------------------


def test_a_retry_hands_out_the_next_try(app: App, executor: Executor) -> None:
    @app.task(bind=True)
    def flaky(self: Any, x: int) -> None:
        raise self.retry(exc=ValueError("again"), countdown=30)

    outcome = run(executor, call(flaky, 7, link=flaky.s(), headers={"trace": "t"}))

    assert outcome.kind == RETRIED
    assert outcome.text == "Retry in 30s: ValueError('again')"
    headers, body = sent(outcome.publications[0])
    assert (headers["id"], headers["retries"], headers["trace"]) == ("id-1", 1, "t")
    assert (body.args, len(body.callbacks)) == ([7], 1)
    assert outcome.publications[0].due is not None
    meta = metas(outcome)["id-1"]
    assert (meta["status"], meta["result"].args, meta["date_done"]) == ("RETRY", ("again",), None)


def test_retries_that_are_used_up_fail_with_the_cause(app: App, executor: Executor) -> None:
    @app.task(bind=True, max_retries=1)
    def flaky(self: Any) -> None:
        raise self.retry(exc=ValueError("again"))

    outcome = run(executor, call(flaky, retries=1))

    assert (outcome.kind, outcome.publications) == (FAILED, [])
    assert metas(outcome)["id-1"]["result"].args == ("again",)


def test_an_automatic_retry_is_a_retry(app: App, executor: Executor) -> None:
    @app.task(autoretry_for=(ValueError,), default_retry_delay=1)
    def flaky() -> None:
        raise ValueError("again")

    outcome = run(executor, call(flaky))

    assert outcome.kind == RETRIED
    assert sent(outcome.publications[0])[0]["retries"] == 1


def test_an_ignored_run_stores_and_sends_nothing(app: App, executor: Executor) -> None:
    @app.task
    def skip() -> None:
        raise Ignore("not today")

    outcome = run(executor, call(skip, link=skip.s()))

    assert (outcome.kind, outcome.results, outcome.publications) == (IGNORED, [], [])
    assert outcome.text == "not today"


def test_a_rejected_run_is_a_failure_unless_it_goes_back(app: App, executor: Executor) -> None:
    @app.task
    def refuse(requeue: bool) -> None:
        raise Reject("bad day", requeue=requeue)

    back = run(executor, call(refuse, True))
    gone = run(executor, call(refuse, False))

    assert (back.kind, back.requeue, back.results) == (REJECTED, True, [])
    assert (gone.kind, gone.requeue) == (REJECTED, False)
    assert metas(gone)["id-1"]["status"] == "FAILURE"
    assert gone.text == "reject requeue=False: bad day"


# --- messages that cannot run -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("envelope", "text"),
    [
        (b"not json", "not a message envelope"),
        (b'{"body": "", "headers": {}, "properties": {}}', ""),
    ],
)
def test_garbage_is_invalid(executor: Executor, envelope: bytes, text: str) -> None:
    outcome = run(executor, envelope)

    assert (outcome.kind, outcome.results) == (INVALID, [])
    assert text in outcome.text
    assert outcome.text
    assert "\n" not in outcome.text


def test_a_body_of_the_wrong_type_is_invalid(app: App, executor: Executor) -> None:
    @app.task(name="proj.one", serializer="pickle")
    def one() -> None: ...

    outcome = run(executor, call(one))

    assert (outcome.kind, outcome.results) == (INVALID, [])
    assert outcome.text == (
        "proj.one[id-1]: refusing to decode content type 'application/x-python-serialize': "
        "not in accept_content"
    )


def test_a_body_that_is_no_call_is_invalid(app: App, executor: Executor) -> None:
    @app.task(name="proj.one")
    def one() -> None: ...

    envelope = encode_envelope(
        b"[1, 2",
        content_type="application/json",
        content_encoding="utf-8",
        headers={"task": "proj.one", "id": "id-1"},
        properties={},
        exchange="",
        routing_key="celery",
    )

    outcome = run(executor, envelope)

    assert outcome.kind == INVALID
    assert "body is not application/json" in outcome.text


def test_an_unknown_task_is_rejected_and_says_the_cure(app: App, executor: Executor) -> None:
    envelope = app.calling.producer.encode("proj.nobody", (), {}, {"task_id": "id-1"}).envelope

    outcome = run(executor, envelope)

    assert (outcome.kind, outcome.requeue) == (REJECTED, False)
    assert "task proj.nobody is not registered" in outcome.text
    assert "include" in outcome.text
    assert isinstance(metas(outcome)["id-1"]["result"], NotRegistered)


def test_a_message_with_only_a_name_and_an_id_runs(app: App, executor: Executor) -> None:
    @app.task(name="proj.one")
    def one() -> int:
        return 1

    envelope = encode_envelope(
        b"[[], {}, null]",
        content_type="application/json",
        content_encoding="utf-8",
        headers={"task": "proj.one", "id": "id-1"},
        properties={},
        exchange="",
        routing_key="celery",
    )

    assert metas(run(executor, envelope))["id-1"]["result"] == 1


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
_signature = st.fixed_dictionaries(
    {},
    optional={
        "task": _json | st.just("fuzz.any"),
        "args": _json,
        "kwargs": _json,
        "options": _json | st.fixed_dictionaries({"task_id": st.text(min_size=1)}),
        "subtask_type": st.sampled_from([None, "chain", "group", "chord", "nonsense"]),
    },
)
_fields = ["id", "retries", "timelimit", "root_id", "ignore_result", "stamps", "group", "callbacks"]


_lists = st.lists(_signature, max_size=2)


def _check_outcome(headers: dict[str, Any], body: Any) -> None:
    envelope = encode_envelope(
        json.dumps(body).encode(),
        content_type="application/json",
        content_encoding="utf-8",
        headers={"task": "fuzz.any", "id": "id-1", **headers},
        properties={},
        exchange="",
        routing_key="celery",
    )

    outcome = run(_fuzzed_executor(), envelope)

    assert outcome.kind in (SUCCEEDED, FAILED, INVALID)
    assert outcome.text
    failure_followers(_fuzzed_app(), envelope, WorkerLostError("gone"))


@settings(max_examples=100, deadline=None)
@given(headers=st.dictionaries(st.sampled_from(_fields), _json, max_size=2))
def test_whatever_the_headers_say_there_is_an_outcome(headers: dict[str, Any]) -> None:
    _check_outcome(headers, [[], {}, None])


@settings(max_examples=150, deadline=None)
@given(
    embed=st.fixed_dictionaries(
        {},
        optional={
            "callbacks": _lists,
            "errbacks": _lists,
            "chain": _lists | _json,
            "chord": _signature | _json,
        },
    ),
    fails=st.booleans(),
)
def test_whatever_the_body_asks_for_there_is_an_outcome(embed: dict[str, Any], fails: bool) -> None:
    _check_outcome({}, [[], {"fails": fails}, embed])


@cache
def _fuzzed_app() -> App:
    app = App("fuzz", broker="memory://fuzz", backend="memory://fuzz", set_as_current=False)

    @app.task(name="fuzz.any", shared=False)
    def anything(*args: Any, fails: bool = False, **kwargs: Any) -> Any:
        if fails:
            raise ValueError("as told")
        return [args, kwargs]

    return app


@cache
def _fuzzed_executor() -> Executor:
    return Executor(_fuzzed_app())


@given(st.binary(max_size=200))
def test_any_bytes_are_an_outcome(envelope: bytes) -> None:
    assert run(_fuzzed_executor(), envelope).kind == INVALID


# --- what a task sees, and who listens ------------------------------------------------------------


def test_a_task_sees_its_request_and_is_current(app: App, executor: Executor) -> None:
    @app.task(bind=True)
    def look(self: Any) -> list[Any]:
        assert current.current_task() is self
        assert current.get_app() is app
        request = self.request
        return [request.id, request.hostname, request.deliveries, request.time_limit, request.queue]

    outcome = run(executor, call(look), deliveries=2, hard=30.0, queue="hipri")

    assert metas(outcome)["id-1"]["result"] == ["id-1", "w1@host", 2, 30.0, "hipri"]


def test_started_is_stored_before_the_task_runs(app: App, executor: Executor) -> None:
    @app.task(bind=True, track_started=True)
    def look(self: Any) -> Any:
        return [app.AsyncResult(self.request.id).state, app.AsyncResult(self.request.id).info]

    state, info = metas(run(executor, call(look)))["id-1"]["result"]

    assert state == "STARTED"
    assert info["hostname"] == "w1@host"


def test_hooks_are_called_in_order_with_what_they_need(app: App, executor: Executor) -> None:
    calls: list[Any] = []

    class Watched(Task):
        abstract = True

        def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            calls.append(("before", task_id, args, kwargs))

        def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
            calls.append(("success", retval))

        def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            calls.append(("failure", exc.args, "in work" in str(einfo)))

        def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            calls.append(("retry", exc.args, einfo.type))

        def after_return(
            self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
        ) -> None:
            calls.append(("after", status))

    @app.task(base=Watched, bind=True)
    def work(self: Any, what: str) -> str:
        if what == "fail":
            raise ValueError("bad")
        if what == "retry":
            raise self.retry(exc=ValueError("again"))
        return what

    for what in ("good", "fail", "retry"):
        run(executor, call(work, what))

    assert calls == [
        ("before", "id-1", ["good"], {}),
        ("success", "good"),
        ("after", "SUCCESS"),
        ("before", "id-1", ["fail"], {}),
        ("failure", ("bad",), True),
        ("after", "FAILURE"),
        ("before", "id-1", ["retry"], {}),
        ("retry", ("again",), Retry),
    ]


def test_a_hook_that_raises_does_not_change_the_outcome(
    app: App, executor: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    class Clumsy(Task):
        abstract = True

        def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
            raise RuntimeError("clumsy")

    @app.task(base=Clumsy)
    def one() -> int:
        return 1

    outcome = run(executor, call(one))

    assert (outcome.kind, metas(outcome)["id-1"]["result"]) == (SUCCEEDED, 1)
    assert "on_success" in caplog.text
    assert "clumsy" in caplog.text


def test_before_start_that_raises_is_a_failure(app: App, executor: Executor) -> None:
    class Closed(Task):
        abstract = True

        def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            raise RuntimeError("closed")

    @app.task(base=Closed)
    def one() -> int:
        return 1

    assert run(executor, call(one)).text == "RuntimeError('closed')"


def test_a_custom_call_that_hands_on_runs_once_and_sees_the_request(
    app: App, executor: Executor
) -> None:
    seen: list[Any] = []

    class DebugTask(Task):
        abstract = True

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            seen.append(self.request.id)
            return super().__call__(*args, **kwargs)

    @app.task(base=DebugTask, bind=True)
    def work(self: Any) -> Any:
        seen.append(self.request.id)
        return self.request.called_directly

    assert metas(run(executor, call(work)))["id-1"]["result"] is False
    assert seen == ["id-1", "id-1"]


@pytest.fixture
def heard() -> Iterator[list[Any]]:
    """What the run signals said, in order."""
    calls: list[Any] = []

    def listen(name: str, *fields: str) -> Callable[..., None]:
        def receive(sender: Any, **named: Any) -> None:
            calls.append((name, *(named[field] for field in fields)))

        signal = getattr(signals, name)
        signal.connect(receive, weak=False)
        connected.append((signal, receive))
        return receive

    connected: list[Any] = []
    listen("task_prerun", "task_id", "args")
    listen("task_postrun", "task_id", "state")
    listen("task_success", "result")
    listen("task_failure", "task_id", "exception")
    listen("task_retry", "reason")
    yield calls
    for signal, receive in connected:
        signal.disconnect(receive)


def test_signals_tell_of_every_run(app: App, executor: Executor, heard: list[Any]) -> None:
    @app.task
    def div(x: int, y: int) -> float:
        return x / y

    run(executor, call(div, 1, 1))
    run(executor, call(div, 1, 0))

    assert heard[:3] == [
        ("task_prerun", "id-1", [1, 1]),
        ("task_success", 1.0),
        ("task_postrun", "id-1", "SUCCESS"),
    ]
    assert [entry[0] for entry in heard[3:]] == ["task_prerun", "task_failure", "task_postrun"]
    assert heard[5][2] == "FAILURE"


def test_signals_tell_of_a_retry(app: App, executor: Executor, heard: list[Any]) -> None:
    @app.task(bind=True)
    def flaky(self: Any) -> None:
        raise self.retry(exc=ValueError("again"))

    run(executor, call(flaky))

    assert [entry[0] for entry in heard] == ["task_prerun", "task_retry", "task_postrun"]
    assert heard[2][2] == "RETRY"


def test_boot_and_leave_are_announced(app: App) -> None:
    said: list[Any] = []
    signals.worker_process_init.connect(lambda **_: said.append("init"), weak=False, dispatch_uid=1)
    signals.worker_process_shutdown.connect(
        lambda pid, exitcode, **_: said.append(exitcode), weak=False, dispatch_uid=1
    )

    executor = Executor(app)
    executor.boot()
    executor.leave()

    signals.worker_process_init.disconnect(dispatch_uid=1)
    signals.worker_process_shutdown.disconnect(dispatch_uid=1)
    assert said == ["init", 0]


def test_nothing_of_a_failed_run_is_kept_alive(app: App, executor: Executor) -> None:
    class Big:
        alive = 0

        def __init__(self) -> None:
            Big.alive += 1

        def __del__(self) -> None:
            Big.alive -= 1

    @app.task
    def boom() -> None:
        big = Big()
        raise ValueError(repr(type(big)))

    run(executor, call(boom))

    assert Big.alive == 0
    assert sys.exc_info() == (None, None, None)


# --- for the worker ---------------------------------------------------------------------------


def test_the_worker_writes_metas_for_tasks_that_never_ran(app: App) -> None:
    app.conf.result_extended = True

    @app.task(name="proj.add")
    def add(x: int, y: int) -> int:
        return x + y

    message = decode_task(call(add, 2, 3, group_id="g-1"))

    lost = decode_meta(failure_meta(app, message, WorkerLostError("gone"), hostname="w1@h").meta)
    revoked = decode_meta(revoked_meta(app, message, "expired").meta)
    unknown = decode_meta(not_registered_meta(app, message).meta)

    assert (lost["status"], lost["args"], lost["worker"]) == ("FAILURE", [2, 3], "w1@h")
    assert (lost["group_id"], lost["task_id"], lost["name"]) == ("g-1", "id-1", "proj.add")
    assert (revoked["status"], str(revoked["result"])) == ("REVOKED", "expired")
    assert isinstance(unknown["result"], NotRegistered)
    assert revoked["date_done"] is not None


def test_the_worker_fails_what_follows_a_lost_task(app: App) -> None:
    @app.task
    def step(x: Any = None) -> None: ...

    @app.task
    def report(task_id: str) -> None: ...

    with gather() as publications:
        last = chain(step.s(), step.s(), app=app).apply_async(link_error=report.s())

    results, sent_out, parts = failure_followers(
        app, publications[0].envelope, WorkerLostError("child 4711 killed by SIGKILL")
    )

    assert parts == []
    assert [stored.task_id for stored in results] == [last.id]
    assert "SIGKILL" in str(decode_meta(results[0].meta)["result"])
    assert [sent(publication)[0]["task"] for publication in sent_out] == [report.name]


def test_a_message_that_cannot_be_read_has_no_followers(app: App) -> None:
    assert failure_followers(app, b"garbage", WorkerLostError("gone")) == ([], [], [])
