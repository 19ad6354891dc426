"""What a task says of its limits, and what a caller of a unique task gets."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from taskctl import App, Concurrency, Limit, Unique, chain, group
from taskctl.core.errors import BrokerConnectionError, EncodeError, ImproperlyConfigured
from taskctl.core.limiters.base import LockWish
from taskctl.core.messaging.producer import Producer
from taskctl.core.ways import follow_celery

ROOT = Path(__file__).resolve().parents[2]
_names = itertools.count()


@pytest.fixture
def app() -> Iterator[App]:
    app = App(
        "limits",
        broker=f"memory://limits{next(_names)}",
        backend="memory://",
        set_as_current=False,
    )
    yield app
    app.close()


def unique(app: App, name: str = "once", **options: Any) -> Any:
    @app.task(shared=False, name=name, unique=Unique("{key}", **options))
    def once(key: str, other: int = 0) -> str:
        return key

    return app.tasks[name]


def waiting(app: App) -> list[dict[str, Any]]:
    """Return the headers of the messages that wait."""
    with app.connection() as connection:
        return [json.loads(one)["headers"] for one in connection.broker.peek("celery", 100)]


# --- what is declared -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Limit("ten"), "rate limit 'ten': write N/s, N/m or N/h"),
        (lambda: Limit("10/d"), "rate limit '10/d'"),
        (lambda: Limit("-1/s"), "must be 0 or more"),
        (lambda: Limit(0), "must be above 0: leave the limit out"),
        (lambda: Limit("inf/s"), "must be above 0"),
        (lambda: Limit("1/s", scope="node"), "scope 'node': choose 'global' or 'worker'"),
        (lambda: Limit("1/s", burst=0), "burst must be a whole number from 1, got 0"),
        (lambda: Concurrency(0), "a whole number from 1, got 0"),
        (lambda: Concurrency("3"), "a whole number from 1, got '3'"),  # type: ignore[arg-type]
        (lambda: Unique(until="end"), "until='end': choose 'start', 'done', or seconds"),
        (lambda: Unique(until=0), "until=0: choose"),
        (lambda: Unique(until=1e12), "up to ten years"),
        (lambda: Unique(until=float("nan")), "until=nan"),
        (lambda: Unique(until=True), "until=True"),
        (lambda: Unique(ttl=-5), "ttl=-5: seconds above 0"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=said.replace("(", r"\(")):
        make()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"unique": "{user}"}, "names no argument of the task: it has a, b"),
        ({"unique": "a"}, "names no argument: write it as '{name}'"),
        ({"unique": "{"}, "Unique(key='{')"),
        ({"unique": "{}"}, "names no argument of the task"),
        ({"unique": 5}, "unique=5: a Unique object expected"),
        ({"concurrency": "3"}, "concurrency='3': a Concurrency object expected"),
        ({"concurrency": Concurrency(1, key=7)}, "a function, a template"),  # type: ignore[arg-type]
        ({"rate_limit": Limit("1/s", key="{c[x]}")}, "it has a, b"),
    ],
)
def test_a_key_that_no_call_could_have_is_refused_with_the_task(
    app: App, options: dict[str, Any], said: str
) -> None:
    @app.task(shared=False, name="some.task", **options)
    def some(a: int, b: int = 0) -> None: ...

    with pytest.raises(ImproperlyConfigured) as caught:
        app.tasks["some.task"]

    assert "task some.task" in str(caught.value)
    assert said in str(caught.value)


def test_keys_are_made_of_the_arguments_however_they_are_given(app: App) -> None:
    @app.task(
        shared=False,
        name="t",
        bind=True,
        rate_limit=Limit("1/s", key=lambda a, b=0, **more: a + b),
        concurrency=Concurrency(2, key="{a}-{more}", name="pool"),
        unique=Unique("*"),
    )
    def some(self: Any, a: int, b: int = 5, **kwargs: Any) -> None: ...

    limits = app.tasks["t"].shared_limits

    keys = limits.keys((1,), {"more": "x"})
    assert keys.rate == "t:1"
    assert keys.concurrency == "pool:1-x"
    assert keys.unique == limits.keys((), {"a": 1, "b": 5, "more": "x"}).unique
    assert keys.unique != limits.keys((2,), {"more": "x"}).unique
    long = limits.keys((1,), {"more": "x" * 1000}).concurrency
    assert len(long) < 100
    with pytest.raises(TypeError, match="task t: the key of its Concurrency cannot be made"):
        limits.keys((1,), {})


def test_short_forms_and_inheritance(app: App) -> None:
    class Base(app.Task):  # type: ignore[misc, name-defined]
        concurrency = 4

    @app.task(shared=False, name="t", base=Base, unique=True)
    def some() -> None: ...

    limits = app.tasks["t"].shared_limits

    assert limits.concurrency.limit == 4
    assert limits.keys((), {}) == (None, "t", "t")
    assert limits.unique.until == "done"


def test_options_of_a_celery_project_that_bear_the_same_names_are_its_own(app: App) -> None:
    follow_celery(True)
    try:

        @app.task(shared=False, name="t", unique="whatever", concurrency="gevent")
        def some() -> None: ...

        assert app.tasks["t"].shared_limits is None
        assert app.tasks["t"].unique == "whatever"
    finally:
        follow_celery(False)


def test_a_plain_task_has_no_limits_and_its_messages_no_word_of_them(app: App) -> None:
    @app.task(shared=False, name="plain", rate_limit="10/s")
    def plain() -> None: ...

    app.tasks["plain"].delay()

    assert app.tasks["plain"].shared_limits is None
    assert "taskctl-limits" not in waiting(app)[0]


@pytest.mark.parametrize("backend", [None, "rpc://", "file:///tmp"])
def test_a_broker_that_cannot_count_is_refused_with_the_cure(backend: str | None) -> None:
    app = App("amqp", broker="amqp://u:secret@h//", backend=backend, set_as_current=False)
    once = unique(app)

    with pytest.raises(ImproperlyConfigured, match="set task_limits_url to a redis://") as caught:
        once.delay("a")

    assert "secret" not in str(caught.value)


def test_limits_are_counted_at_the_backend_where_the_broker_cannot(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/r.db"
    app = App("amqp", broker="amqp://h", backend=url, set_as_current=False)

    assert app.limiter.url == url

    app.conf.update(task_limits_url=f"sqlite:///{tmp_path}/l.db")
    assert app.limiter.url.endswith("l.db")


# --- what a caller gets -----------------------------------------------------------------------


def test_a_refused_call_gets_the_result_of_the_one_that_holds_the_lock(app: App) -> None:
    once = unique(app)

    first, second, other = once.delay("a"), once.delay("a", other=7), once.delay("b")

    assert (first.duplicate, second.duplicate, other.duplicate) == (False, True, False)
    assert second == first
    assert [one["id"] for one in waiting(app)] == [first.id, other.id]
    assert waiting(app)[0]["taskctl-limits"] == {"unique": "once:a", "claimed": "1"}


def test_a_call_by_name_is_refused_too_where_the_task_is_known(app: App) -> None:
    first = unique(app).delay("a")

    assert app.send_task("once", ("a",)).id == first.id


def test_what_others_wait_for_is_sent_in_any_case(app: App) -> None:
    once = unique(app)
    holder = once.delay("a")

    joined = group([once.s("a"), once.s("a")], app=app).apply_async()
    line = chain(once.s("a"), once.si("b"), app=app).apply_async()
    named = once.apply_async(("a",), task_id="mine")

    ids = [holder.id, *(r.id for r in joined.results), line.parent.id, "mine"]
    assert [one["id"] for one in waiting(app)] == ids
    assert named.id == "mine"
    assert ["claimed" in one["taskctl-limits"] for one in waiting(app)] == [True] + [False] * 4


def test_the_next_try_of_the_holder_is_no_duplicate(app: App) -> None:
    once = unique(app)
    first = once.delay("a")

    again = once.apply_async(("a",), task_id=first.id, retries=1)

    assert (again.id, again.duplicate) == (first.id, False)


def test_a_call_that_was_not_sent_leaves_no_lock(app: App) -> None:
    once = unique(app)

    with pytest.raises(EncodeError):
        once.delay("a", other=object())

    assert not once.delay("a").duplicate


def test_a_caller_that_dies_before_its_message_is_safe_leaves_a_lock_that_ends_soon(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    once, claims = unique(app), []

    def die(*args: Any, **kwargs: Any) -> None:
        raise BrokerConnectionError("gone, and nobody knows whether it arrived")

    claim = app.limiter.claim
    monkeypatch.setattr(app.limiter, "claim", lambda w: claims.extend(w) or claim(w))
    with monkeypatch.context() as broken:
        broken.setattr(Producer, "send", die)
        with pytest.raises(BrokerConnectionError):
            once.delay("a")

    assert [wish.seconds for wish in claims] == [15.0]
    assert app.limiter.claim([LockWish("once:a", "other", 1.0)]) != ["other"]


def test_fifty_racing_callers_send_one_message(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/queue.db"
    code = (
        "import sys; from taskctl import App, Unique\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        f"app = App('race', broker={url!r}, backend={url!r})\n"
        "@app.task(name='once', unique=Unique('{key}'))\n"
        "def once(key): pass\n"
        "sys.stdin.readline()\n"
        "with ThreadPoolExecutor(25) as pool:\n"
        "    print(*{r.id for r in pool.map(once.delay, ['a'] * 25)})\n"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ,
        )
        for _ in range(2)
    ]
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda racer: racer.communicate("go\n", timeout=60)[0], racers))

    app = App("look", broker=url, backend=url, set_as_current=False)
    assert {one for line in said for one in line.split()} == {waiting(app)[0]["id"]}
    assert len(waiting(app)) == 1
    app.close()


def test_an_eager_run_asks_nobody(app: App) -> None:
    once = unique(app)
    app.conf.update(task_always_eager=True)

    assert [once.delay("a").get(), once.delay("a").get()] == ["a", "a"]
