"""Calls that make no sense: one clear line at the call, naming what is wrong and where."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctl import App, chain, group
from taskctl.core import ways
from taskctl.core.errors import EncodeError, NotRegistered
from taskctl.core.messaging.unsendable import located_in
from taskctl.core.wire import codecs


@pytest.fixture
def app() -> Iterator[App]:
    app = App("bad", broker="memory://", backend="memory://", set_as_current=False)
    yield app
    app.close()


@pytest.fixture
def add(app: App) -> Any:
    @app.task(name="bad.add", shared=False)
    def add(x: Any, y: Any = 1) -> Any:
        return x

    return add


@pytest.fixture
def celerys_ways() -> Iterator[None]:
    ways.follow_celery(True)
    yield
    ways.follow_celery(False)


def said(error: type[Exception], call: Callable[[], Any]) -> str:
    """Return the one line that `call` is refused with."""
    with pytest.raises(error) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("args", "kwargs", "place"),
    [
        (({"a": [1, {2}, 3]},), {}, "argument x['a'][1]"),
        ((1, object()), {}, "argument y"),
        ((1,), {"y": {"k": ({"z": print},)}}, "argument y['k'][0]['z']"),
        (({(1, 2): 3},), {}, "argument x"),
    ],
)
def test_what_cannot_be_sent_is_named_with_its_place(
    add: Any, args: Any, kwargs: Any, place: str
) -> None:
    text = said(EncodeError, lambda: add.delay(*args, **kwargs))

    assert text.startswith(f"bad.add: {place} cannot be sent as json: ")


def test_a_task_known_by_name_alone_has_its_arguments_numbered(app: App) -> None:
    text = said(EncodeError, lambda: app.send_task("far.away", (1, {2})))

    assert text.startswith("far.away: argument args[1] cannot be sent as json: set is not JSON")


def test_the_argument_of_a_link_is_named(add: Any) -> None:
    text = said(EncodeError, lambda: add.apply_async((1,), link=add.s({2})))

    assert "option link[0]['args'][0] cannot be sent as json" in text


@pytest.mark.parametrize("serializer", ["pickle", "msgpack", "yaml"])
def test_every_serializer_names_what_it_cannot_write(add: Any, serializer: str) -> None:
    text = said(
        EncodeError, lambda: add.apply_async(([1, (n for n in "ab")],), serializer=serializer)
    )

    assert text.startswith(f"bad.add: argument x[1] cannot be sent as {serializer}: ")


def test_a_list_that_contains_itself_is_said_to(add: Any) -> None:
    loop: list[Any] = [1]
    loop.append(loop)

    assert said(EncodeError, lambda: add.delay(loop)).endswith(": it contains itself")


def test_an_eager_call_names_it_too(app: App, add: Any) -> None:
    app.conf.task_always_eager = True

    assert "argument x[1] cannot" in said(EncodeError, lambda: add.delay([1, {2}]))


plain = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(before=st.lists(plain, max_size=3), path=st.lists(st.text(max_size=3) | st.none()))
def test_the_path_leads_to_the_culprit_wherever_it_hides(
    before: list[Any], path: list[str | None]
) -> None:
    culprit = object()
    value: Any = culprit
    for step in path:
        value = [*before, value] if step is None else {step: value}
    with pytest.raises(EncodeError) as caught:
        codecs.encode([[value], {}, {}], "json")

    text = str(located_in(caught.value, "t", (value,), {}, "json"))

    found = re.match(r"t: argument args\[0\](.*) cannot be sent as json: object is not", text, re.S)
    assert found is not None
    assert eval(f"value{found[1]}") is culprit


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cuntdown": 3}, "has no option 'cuntdown': did you mean 'countdown'?"),
        ({"quue": "x", "zzz": 1}, "has no option 'quue' (nor 'zzz'): did you mean 'queue'?"),
        ({"tenant": 3}, "it shall read as self.request.tenant goes into headers={'tenant': ...}"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest(
    app: App, add: Any, options: dict[str, Any], words: str
) -> None:
    assert words in said(TypeError, lambda: add.apply_async((1,), **options))
    assert words in said(TypeError, lambda: add.s(1).set(**options).delay())
    assert words in said(TypeError, lambda: app.send_task("bad.add", (1,), **options))
    app.conf.task_always_eager = True
    assert words in said(TypeError, lambda: add.apply_async((1,), **options))


@pytest.mark.parametrize(
    "options",
    [
        {"app_id": "a", "user_id": "u", "message_id": "m", "type": "t"},
        {"periodic_task_name": "every morning"},  # django-celery-beat
        {"headers": {"tenant": "t"}, "shadow": "shown", "argsrepr": "(...)"},
        {"retry": False, "retry_policy": {"max_retries": 1}, "mandatory": True},
    ],
)
def test_an_option_that_travels_is_no_mistake(add: Any, options: dict[str, Any]) -> None:
    assert add.apply_async((1,), **options).id


@pytest.mark.usefixtures("celerys_ways")
def test_where_celerys_ways_hold_unknown_options_and_past_times_pass(add: Any) -> None:
    assert add.apply_async((1,), tenant=3, countdown=-5).id


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"countdown": -1}, ValueError, "countdown must be 0 or more seconds, got -1"),
        ({"countdown": float("nan")}, ValueError, "countdown must be 0 or more seconds, got nan"),
        ({"countdown": "5"}, TypeError, "countdown must be seconds, got '5'"),
        ({"eta": date(2030, 1, 1)}, TypeError, "eta must be a datetime or ISO 8601 text"),
        ({"priority": "high"}, TypeError, "priority must be a whole number, got 'high'"),
        ({"time_limit": "1m"}, TypeError, "time_limit must be seconds, got '1m'"),
        ({"soft_time_limit": -1}, ValueError, "soft_time_limit must be 0 or more seconds"),
        ({"time_limit": 1, "soft_time_limit": 2}, ValueError, "is beyond time_limit (1 s)"),
        ({"link": "task"}, TypeError, "link takes signatures such as task.s(), got 'task'"),
        ({"link_error": [3]}, TypeError, "link_error takes signatures such as task.s(), got 3"),
    ],
)
def test_an_option_with_a_value_that_is_none_is_refused(
    add: Any, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    assert words in said(error, lambda: add.apply_async((1,), **options))


def test_times_of_which_one_has_an_offset_are_refused(add: Any) -> None:
    naive = datetime(2040, 1, 1)
    aware = datetime(2040, 1, 2, tzinfo=UTC)

    assert said(ValueError, lambda: add.apply_async((1,), eta=naive, expires=aware)) == (
        "expires has an offset from UTC and eta has none: give both one, or neither"
    )
    assert "eta has an offset from UTC and expires has none" in said(
        ValueError, lambda: add.apply_async((1,), eta=aware, expires="2040-01-01T00:00:00")
    )
    assert add.apply_async((1,), eta=naive, expires=naive + timedelta(1)).id
    assert add.apply_async((1,), eta=aware, expires=60).id


def test_a_negative_countdown_of_a_retry_fails_the_task_and_loses_nothing(app: App) -> None:
    @app.task(bind=True, name="again", shared=False)
    def again(self: Any) -> None:
        raise self.retry(countdown=-1)

    result = again.apply()

    assert result.state == "FAILURE"
    assert str(result.result) == "countdown must be 0 or more seconds, got -1"


def test_signatures_that_follow_themselves_are_refused_when_they_are_linked(add: Any) -> None:
    first, second, third = (add.s(n) for n in range(3))
    first.link(second)
    second.link_error(third)

    assert said(ValueError, lambda: third.link(first)) == (
        "cyclic link: bad.add -> bad.add -> bad.add -> bad.add: "
        "a signature cannot follow itself; link a copy (clone())"
    )
    assert "cyclic link" in said(ValueError, lambda: first.link(first))
    assert third.options == {}
    first.link(third)  # two ways to one end are no cycle
    assert chain(first, second).delay().id
    assert len(group(first, second).delay()) == 2


def test_a_task_that_nobody_knows_is_refused_where_it_must_be_known(app: App, add: Any) -> None:
    assert said(NotRegistered, lambda: app.signature("bad.ad").apply()) == (
        "'bad.ad': did you mean 'bad.add'?"
    )
    assert "import the module that defines it" in said(
        NotRegistered, lambda: app.signature("elsewhere.mail").type
    )
    assert "send_task needs the name of a task, got None" in said(
        TypeError, lambda: app.signature({"args": (1,)}).delay()
    )
