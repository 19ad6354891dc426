"""Calling tasks, and what a running task can do: context, retry, states."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskctl import App, Task
from taskctl.core import current
from taskctl.core.errors import (
    EncodeError,
    MaxRetriesExceededError,
    Reject,
    Retry,
)
from taskctl.core.messaging.producer import gather
from taskctl.core.tasks.autoretry import backoff
from taskctl.core.tasks.execute import Executor
from taskctl.core.wire.message import decode_envelope
from taskctl.core.wire.outcome import Outcome
from tests.support.draining import drain

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture
def app() -> Iterator[App]:
    with App("proj", broker="memory://task", set_as_current=False) as app:
        app.control.purge()
        yield app


@pytest.fixture
def add(app: App) -> Any:
    return app.task(lambda x, y: x + y, name="proj.add")


def _sent(call: Any) -> dict[str, Any]:
    """Return headers, properties and body of the one message that `call` sends."""
    with gather() as publications:
        call()
    (publication,) = publications
    message = decode_envelope(publication.envelope)
    return {
        "headers": message.headers,
        "properties": message.properties,
        "body": json.loads(message.body),
        "due": publication.due,
        "queue": publication.routing_key,
    }


# --- calling ----------------------------------------------------------------------------------


def test_a_call_comes_back_with_its_value(app: App, add: Any) -> None:
    result = add.delay(2, y=3)

    assert (result.state, result.ready()) == ("PENDING", False)
    drain(app)
    assert result.get(timeout=1) == 5


@pytest.mark.parametrize(
    ("args", "kwargs", "says"),
    [
        ((1,), {}, r"proj\.add\(\) missing 1 required positional argument: 'y'"),
        ((1, 2, 3), {}, r"proj\.add\(\) takes 2 positional arguments but 3 were given"),
        ((1, 2), {"z": 3}, r"proj\.add\(\) got an unexpected keyword argument 'z'"),
    ],
)
def test_wrong_arguments_are_refused_at_the_caller(
    add: Any, args: Any, kwargs: Any, says: str
) -> None:
    with pytest.raises(TypeError, match=says):
        add.apply_async(args, kwargs)


def test_every_kind_of_parameter_is_checked(app: App) -> None:
    def odd(a: int, /, b: int, *, c: int, d: int = 1, **rest: int) -> None:
        """Has all kinds of parameters."""

    def plain(a: int, *more: int, c: int) -> None:
        """Has more positional ones."""

    checked, also = app.task(odd, name="odd"), app.task(plain, name="plain")

    checked.__header__(1, 2, c=3, z=4)
    also.__header__(1, 2, 3, c=4)
    with pytest.raises(TypeError, match="positional-only"):
        app.task(lambda a, /: a, name="only").delay(a=1)
    with pytest.raises(TypeError, match="keyword-only argument: 'c'"):
        also.delay(1, 2)


def test_arguments_are_not_checked_where_typing_is_off(app: App) -> None:
    loose = app.task(lambda x: x, name="loose", typing=False)

    assert _sent(lambda: loose.delay(1, 2, 3))["body"][0] == [1, 2, 3]


def test_arguments_that_cannot_be_written_are_refused_at_the_caller(add: Any) -> None:
    with pytest.raises(EncodeError, match="object is not JSON serializable"):
        add.delay(object(), 1)


def test_options_of_the_call_win_over_those_of_the_task(app: App) -> None:
    task = app.task(
        lambda: None,
        name="t",
        priority=3,
        queue="own",
        time_limit=10,
        expires=60,
        serializer="json",
    )

    own = _sent(task.delay)
    given = _sent(lambda: task.apply_async(priority=5, queue="given", time_limit=20))

    assert (own["properties"]["priority"], own["queue"]) == (3, "own")
    assert own["headers"]["timelimit"] == [10, None]
    assert own["headers"]["expires"]
    assert (given["properties"]["priority"], given["queue"]) == (5, "given")
    assert given["headers"]["timelimit"] == [20, None]


def test_an_attribute_changed_later_holds_for_the_next_call(add: Any) -> None:
    add.delay(1, 2)
    add.priority = 8

    assert _sent(lambda: add.delay(1, 2))["properties"]["priority"] == 8


def test_limits_that_contradict_each_other_are_refused(app: App, add: Any) -> None:
    task = app.task(lambda: None, name="t", soft_time_limit=20, time_limit=10)

    with pytest.raises(ValueError, match=r"task t: soft_time_limit \(20 s\) is beyond"):
        task.delay()
    with pytest.raises(ValueError, match=r"soft_time_limit \(3 s\) is beyond time_limit \(2 s\)"):
        add.apply_async((1, 2), soft_time_limit=3, time_limit=2)


def test_a_task_may_show_another_name(app: App) -> None:
    task = app.task(
        lambda what: what, name="t", shadow_name=staticmethod(lambda args, kwargs, options: args[0])
    )

    assert _sent(lambda: task.delay("pretty"))["headers"]["shadow"] == "pretty"
    assert _sent(lambda: task.apply_async(("a",), shadow="b"))["headers"]["shadow"] == "b"


def test_a_call_goes_over_a_connection_of_the_callers(app: App, add: Any) -> None:
    connection = app.connection("memory://elsewhere")

    add.apply_async((1, 2), connection=connection)

    assert connection.broker.size("celery") == 1
    assert app.shared_connection().broker.size("celery") == 0


def test_a_call_whose_result_is_ignored_returns_at_once(add: Any) -> None:
    assert add.apply_async((1, 2), ignore_result=True).get(timeout=1) is None


# --- eager ------------------------------------------------------------------------------------


def test_calls_run_at_once_where_the_settings_say_so(app: App, add: Any) -> None:
    app.conf.task_always_eager = True

    assert add.delay(2, 3).get() == 5
    with pytest.raises(EncodeError):
        add.delay(object(), 1)
    with pytest.warns(UserWarning, match="task_always_eager has no effect on send_task"):
        app.send_task("proj.add", (1, 2))


def test_apply_runs_here_with_retries(app: App) -> None:
    @app.task(bind=True, name="flaky")
    def flaky(self: Any, failures: int) -> int:
        if self.request.retries < failures:
            raise self.retry(exc=ValueError("again"), countdown=100)
        return int(self.request.retries)

    assert flaky.apply((2,)).get() == 2
    assert isinstance(flaky.apply((9,)).result, ValueError)
    with pytest.raises(Retry, match="again"):  # as Celery: the run, not the last of its tries
        flaky.apply((9,), throw=True)


# --- the request ------------------------------------------------------------------------------


def test_a_task_called_as_a_function_knows_its_arguments_and_no_id(app: App) -> None:
    @app.task(bind=True, name="t")
    def who(self: Any, x: int) -> tuple[Any, ...]:
        return self.request.id, self.request.args, self.request.called_directly

    assert who(1) == (None, (1,), True)
    assert who.request.id is None


def test_a_custom_call_sees_the_request_of_the_run(app: App) -> None:
    seen: list[Any] = []

    class Debug(Task):  # type: ignore[type-arg]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            seen.append(self.request.id)
            return super().__call__(*args, **kwargs)

    @app.task(base=Debug, bind=True, name="t")
    def who(self: Any) -> Any:
        return self.request.id

    result = who.delay()
    drain(app)

    assert result.get(timeout=1) == result.id
    assert seen == [result.id]


def test_a_call_made_inside_a_task_is_its_child(app: App, add: Any) -> None:
    @app.task(name="outer")
    def outer() -> list[str]:
        inner = add.delay(1, 2)
        untold = add.apply_async((3, 4), add_to_parent=False)
        return [inner.id, untold.id]

    result = outer.delay()
    outcomes = drain(app)

    inner, _ = result.get(timeout=1)
    assert [child.id for child in result.children] == [inner]
    assert len(outcomes) == 3


def test_lineage_and_priority_are_handed_down(app: App, add: Any) -> None:
    app.conf.task_inherit_parent_priority = True
    add.push_request(id="p", root_id="r", called_directly=False, delivery_info={"priority": 6})
    try:
        sent = _sent(lambda: add.delay(1, 2))
    finally:
        add.pop_request()

    assert (sent["headers"]["root_id"], sent["headers"]["parent_id"]) == ("r", "p")
    assert sent["properties"]["priority"] == 6
    assert current.current_task() is None


# --- retry ------------------------------------------------------------------------------------


def _retried(app: App, call: Any) -> tuple[Outcome, dict[str, Any]]:
    """Run one message; return its outcome, and the next try."""
    broker = app.shared_connection().broker
    call()
    (envelope,) = broker.take("celery")
    executor = Executor(app, hostname="w@test")
    executor.boot()
    outcome = executor.run(envelope)
    assert outcome.kind == "retried", outcome
    (publication,) = outcome.publications
    message = decode_envelope(publication.envelope)
    return outcome, {
        "headers": message.headers,
        "properties": message.properties,
        "body": json.loads(message.body),
        "due": publication.due,
        "queue": publication.routing_key,
    }


def test_the_next_try_is_the_same_call_with_one_more_retry(app: App, add: Any) -> None:
    @app.task(bind=True, name="t")
    def again(self: Any, x: int) -> None:
        raise self.retry(countdown=60, exc=KeyError("not yet"))

    outcome, following = _retried(
        app,
        lambda: again.apply_async(
            (1,),
            task_id="t-1",
            priority=4,
            headers={"x-own": 1},
            link=add.s(1),
            time_limit=9,
            shadow="shown",
            reply_to="replies",
        ),
    )

    assert outcome.text == "Retry in 60s: KeyError('not yet')"
    headers = following["headers"]
    assert (headers["id"], headers["retries"], headers["parent_id"]) == ("t-1", 1, "t-1")
    assert (headers["root_id"], headers["x-own"], headers["shadow"]) == ("t-1", 1, "shown")
    assert headers["timelimit"] == [9, None]
    assert following["due"] is not None
    assert following["properties"]["priority"] == 4
    assert following["properties"]["reply_to"] == "replies"
    assert following["body"][0] == [1]
    assert following["body"][2]["callbacks"][0]["task"] == "proj.add"


def test_the_next_try_is_written_as_celery_writes_it(app: App) -> None:
    @app.task(bind=True, name="proj.retry_once")
    def again(self: Any, x: str) -> None:
        raise self.retry(exc=KeyError("not yet"), countdown=1)

    _, ours = _retried(app, lambda: again.delay("ok"))

    capture = json.loads((GOLDEN / "flow_retry.json").read_text())
    envelopes = [e["envelope"] for e in _entries(capture) if "retries" in e["envelope"]["headers"]]
    (theirs,) = (e for e in envelopes if e["headers"]["retries"] == 1)
    assert list(ours["headers"]) == list(theirs["headers"])
    assert list(ours["properties"]) == list(theirs["properties"])
    same = ("task", "shadow", "timelimit", "argsrepr", "ignore_result", "retries", "stamps")
    for name in same:
        assert ours["headers"][name] == theirs["headers"][name]


def _entries(capture: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the captured messages of the Redis side."""
    lists = [value for key, value in capture.items() if "redis" in key and "amqp" not in key]
    return [entry for entries in lists for entry in entries if "envelope" in entry]


def test_the_next_try_goes_to_the_queue_the_first_came_from(app: App) -> None:
    app.conf.task_routes = {"t": "elsewhere"}

    @app.task(bind=True, name="t")
    def again(self: Any) -> None:
        raise self.retry()

    _, following = _retried(app, lambda: again.apply_async(queue="celery"))
    assert following["queue"] == "celery"
    assert following["due"] is not None  # default_retry_delay


@pytest.mark.parametrize(
    ("given", "args", "kwargs"),
    [
        ({}, [1, 2], {"z": 3}),
        ({"args": (7, 8), "kwargs": {"z": 9}}, [7, 8], {"z": 9}),
        ({"args": (7, 8)}, [7, 8], {"z": 3}),
        ({"args": (7, 8, 9)}, [7, 8, 9], {}),
        ({"kwargs": {"y": 8, "z": 9}}, [1, 8], {"z": 9}),
    ],
)
def test_a_retry_may_change_some_of_the_arguments(
    app: App, given: dict[str, Any], args: list[int], kwargs: dict[str, int]
) -> None:
    @app.task(bind=True, name="t")
    def again(self: Any, x: int, y: int, z: int) -> None:
        raise self.retry(**given)

    _, following = _retried(app, lambda: again.delay(1, 2, z=3))

    assert following["body"][:2] == [args, kwargs]


def test_retries_end_with_the_cause_or_an_error_that_says_so(app: App) -> None:
    @app.task(bind=True, max_retries=1, name="t")
    def again(self: Any, cause: bool) -> None:
        raise self.retry(countdown=0, exc=ValueError("cause") if cause else None)

    told, untold = again.delay(True), again.delay(False)
    drain(app)

    with pytest.raises(ValueError, match="cause"):
        told.get(timeout=1)
    with pytest.raises(MaxRetriesExceededError, match=rf"Can't retry t\[{untold.id}\] args:"):
        untold.get(timeout=1)


def test_a_retry_may_name_its_own_limit_and_none_is_without_end(app: App) -> None:
    tries: list[int] = []

    @app.task(bind=True, max_retries=None, name="t")
    def again(self: Any, limit: int | None) -> None:
        tries.append(self.request.retries)
        if len(tries) < 9:
            raise self.retry(countdown=0, max_retries=limit, exc=ValueError())

    again.delay(2)
    drain(app)
    assert tries == [0, 1, 2]
    tries.clear()
    again.delay(None)
    drain(app)
    assert len(tries) == 9


def test_a_retry_outside_of_a_worker_raises_the_cause(app: App) -> None:
    @app.task(bind=True, name="t")
    def again(self: Any, cause: Any) -> None:
        raise self.retry(exc=cause)

    with pytest.raises(KeyError):
        again(KeyError())
    with pytest.raises(Retry, match="Task can be retried"):
        again(None)


def test_a_retry_that_does_not_throw_is_sent_at_once(app: App) -> None:
    @app.task(bind=True, name="t")
    def again(self: Any) -> str:
        if self.request.retries == 0:
            assert isinstance(self.retry(countdown=0, throw=False), Retry)
        return f"run {self.request.retries}"

    result = again.delay()
    outcomes = drain(app)

    assert [outcome.kind for outcome in outcomes] == ["succeeded", "succeeded"]
    assert result.get(timeout=1) == "run 0"  # a success is final


def test_a_retry_that_cannot_be_written_is_rejected_for_good(app: App) -> None:
    @app.task(bind=True, name="t")
    def again(self: Any, x: Any) -> None:
        raise self.retry(args=(object(),))

    result = again.delay(1)
    (outcome,) = drain(app)

    assert (outcome.kind, outcome.requeue) == ("rejected", False)
    with pytest.raises(Reject):
        result.get(timeout=1)


# --- autoretry --------------------------------------------------------------------------------


def test_a_task_retries_by_itself_until_its_limit(app: App) -> None:
    tries: list[int] = []

    @app.task(
        bind=True,
        name="t",
        autoretry_for=(OSError,),
        retry_kwargs={"max_retries": 2, "countdown": 0},
    )
    def again(self: Any) -> None:
        tries.append(self.request.retries)
        raise OSError("down")

    result = again.delay()
    drain(app)

    assert tries == [0, 1, 2]
    with pytest.raises(OSError, match="down"):
        result.get(timeout=1)


def test_some_exceptions_are_not_retried(app: App) -> None:
    tries: list[int] = []

    @app.task(name="t", autoretry_for=Exception, dont_autoretry_for=(KeyError,))
    def again(what: str) -> None:
        tries.append(1)
        raise KeyError(what) if what == "key" else Reject("no")

    again.delay("key")
    again.delay("reject")
    outcomes = drain(app)

    assert [outcome.kind for outcome in outcomes] == ["failed", "rejected"]


def test_a_task_written_as_a_class_retries_by_itself_too(app: App) -> None:
    class Again(Task):  # type: ignore[type-arg]
        name = "again"
        autoretry_for = (ValueError,)
        retry_backoff = 5
        retry_jitter = False
        max_retries = 1

        def run(self) -> None:
            raise ValueError

    app.register_task(Again())

    outcome, following = _retried(app, lambda: app.send_task("again"))
    assert outcome.text.startswith("Retry in 5s")
    assert following["headers"]["retries"] == 1


def test_the_delay_doubles_up_to_a_limit() -> None:
    assert [backoff(2, n, 30, jitter=False) for n in range(6)] == [2, 4, 8, 16, 30, 30]
    assert backoff(0.5, 0, 30, jitter=False) == 1
    assert {backoff(1, 2, 600, jitter=True) for _ in range(300)} == {0, 1, 2, 3, 4}
    assert backoff(1, 10**6, 600, jitter=False) == 600


# --- inside a run -----------------------------------------------------------------------------


def test_a_task_tells_how_far_it_is(app: App) -> None:
    seen: list[Any] = []

    @app.task(bind=True, name="t")
    def slow(self: Any) -> str:
        self.update_state(state="PROGRESS", meta={"done": 50})
        look = self.AsyncResult(self.request.id)
        seen.append((look.state, look.info))
        return "done"

    result = slow.delay()
    drain(app)

    assert seen == [("PROGRESS", {"done": 50})]
    assert result.get(timeout=1) == "done"


def test_a_state_needs_a_task_and_a_word(app: App, add: Any) -> None:
    with pytest.raises(ValueError, match=r"proj\.add\.update_state: no task runs here"):
        add.update_state(state="PROGRESS")
    add.update_state("some-id", state="PROGRESS", meta=1)
    assert app.AsyncResult("some-id").state == "PROGRESS"


def test_a_task_sends_events_of_its_own(app: App) -> None:
    broker = app.shared_connection().broker
    broker.listen("celeryev", "#")

    @app.task(bind=True, name="t")
    def tell(self: Any) -> None:
        self.send_event("task-progress", done=50)

    result = tell.delay()
    drain(app)

    (heard,) = broker.hear()
    event = json.loads(decode_envelope(heard.envelope).body)
    assert heard.routing_key == "task.progress"
    assert (event["type"], event["uuid"], event["done"]) == ("task-progress", result.id, 50)
    assert event["hostname"] == "drain@test"


def test_a_backend_of_its_own_wins(app: App, add: Any) -> None:
    add.backend = app.backend
    assert add.AsyncResult("x").backend is app.backend
