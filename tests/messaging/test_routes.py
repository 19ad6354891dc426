"""Where calls go: the routing table in all its forms, and the queues."""

from __future__ import annotations

import re
from typing import Any

import kombu
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu import Exchange as KombuExchange
from kombu import Queue as KombuQueue

from taskctl.core.errors import ImproperlyConfigured, QueueNotFound
from taskctl.core.messaging.priorities import ranking_of
from taskctl.core.messaging.routes import Queues, Router, as_queue
from taskctl.core.wire.queues import Binding, Exchange, Queue


def route_by_size(
    name: str, args: Any, kwargs: Any, options: Any, task: Any = None
) -> dict[str, Any] | None:
    """A router that the tests name by its path."""
    return {"queue": "big", "priority": 1} if args and args[0] > 9 else None


class OldRouter:
    """A router of the kind Celery had before 4.0."""

    def route_for_task(self, task: str, args: Any = None, kwargs: Any = None) -> str | None:
        return "old" if task.startswith("old.") else None


def _queue_of(routes: Any, name: str = "proj.add", **options: Any) -> str:
    route = Router(routes).route(dict(options), name, (1,), {})
    assert route.queue is not None
    return route.queue.name


@pytest.mark.parametrize(
    "routes",
    [
        {"proj.add": "math"},
        {"proj.add": {"queue": "math"}},
        {"proj.*": {"queue": "math"}},
        {re.compile(r"proj\.(add|mul)$"): {"queue": "math"}},
        [("proj.add", "math"), ("proj.*", "other")],
        [("proj.*", {"queue": "math"})],
        ([("proj.add", "math")],),
        [{"other.task": "other"}, {"proj.add": "math"}],
        lambda name, args, kwargs, options, task=None: {"queue": "math"},
        [OldRouter(), {"proj.add": "math"}],
        {"proj.add": {"queue": Queue(name="math", routing_key="math")}},
    ],
)
def test_a_task_is_routed_by_every_form_of_table(routes: Any) -> None:
    assert _queue_of(routes) == "math"


def test_an_exact_name_wins_over_a_pattern_and_the_first_router_over_the_second() -> None:
    assert _queue_of({"proj.*": "pattern", "proj.add": "exact"}) == "exact"
    assert _queue_of([{"proj.*": "first"}, {"proj.add": "second"}]) == "first"


def test_a_router_may_be_named_by_its_path() -> None:
    router = Router([f"{__name__}.route_by_size", f"{__name__}:OldRouter"])

    big = router.route({}, "proj.add", (10,), {})
    old = router.route({}, "old.add", (1,), {})
    rest = router.route({}, "proj.add", (1,), {})

    assert (big.routing_key, big.options) == ("big", {"priority": 1})
    assert old.routing_key == "old"
    assert rest.routing_key == "celery"


def test_what_the_call_says_wins_over_the_table_unless_it_is_none() -> None:
    routes = {"proj.add": {"queue": "math", "priority": 3}}

    assert _queue_of(routes, queue="mine") == "mine"
    assert Router(routes).route({"priority": None}, "proj.add").options == {"priority": 3}
    assert Router(routes).route({"priority": 9}, "proj.add").options == {"priority": 9}


def test_what_no_route_takes_goes_to_the_default_queue() -> None:
    assert Router({"x": "y"}).route({}, "proj.add")[:2] == ("", "celery")
    assert Router(None, Queues(default="jobs")).route({}, "proj.add")[:2] == ("", "jobs")


@pytest.mark.parametrize(
    ("options", "destination"),
    [
        ({"queue": "media"}, ("media", "media.#")),
        ({"queue": "media", "routing_key": "media.video"}, ("media", "media.video")),
        ({"queue": "direct"}, ("", "direct")),
        ({"queue": "direct", "routing_key": "k"}, ("", "direct")),
        ({"queue": "direct", "exchange": "ex", "routing_key": "k"}, ("ex", "k")),
        ({"exchange": "ex", "routing_key": "k"}, ("ex", "k")),
        ({"exchange": "ex"}, ("", "celery")),
        ({"exchange": Exchange(name="ex", type="topic"), "routing_key": "k"}, ("ex", "k")),
        ({"exchange": "ex", "exchange_type": "fanout"}, ("ex", "")),
    ],
)
def test_direct_queues_are_reached_without_an_exchange(
    options: dict[str, Any], destination: tuple[str, str]
) -> None:
    media = Queue(
        name="media", exchange=Exchange(name="media", type="topic"), routing_key="media.#"
    )
    router = Router(None, Queues([Queue(name="celery"), Queue(name="direct"), media]))

    assert router.route(options, "proj.add")[:2] == destination


@pytest.mark.parametrize(
    ("routes", "says"),
    [
        (42, "task_routes holds 42"),
        ({"proj.add": 42}, "task_routes['proj.add'] is 42: a queue name or a dict"),
        ("no.such.router", "task_routes: no router 'no.such.router'"),
    ],
)
def test_a_routing_table_that_makes_no_sense_is_refused(routes: Any, says: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=re.escape(says)):
        Router(routes).route({}, "proj.add")


# --- queues -----------------------------------------------------------------------------------


def test_there_is_one_queue_when_none_is_declared() -> None:
    queues = Queues()

    assert queues.selected == [
        Queue(name="celery", exchange=Exchange(name="celery"), routing_key="celery")
    ]


def test_queues_are_declared_as_a_list_of_queues_or_names_or_as_a_dict() -> None:
    as_list = Queues([Queue(name="a"), "b"])
    as_dict = Queues(
        {
            "media": {"exchange": "m", "exchange_type": "topic", "binding_key": "media.#"},
            "plain": {},
            "ready": Queue(name="ready"),
        }
    )

    assert list(as_list) == ["a", "b"]
    assert as_dict["media"].exchange == Exchange(name="m", type="topic")
    assert as_dict["media"].routing_key == "media.#"
    assert as_dict["plain"].routing_key == "plain"
    assert [q.name for q in as_dict.selected] == ["media", "plain", "ready"]


def test_a_queue_without_exchange_gets_the_default_one() -> None:
    queues = Queues([Queue(name="a")], default="jobs", default_exchange="jx", max_priority=10)

    assert queues["a"].exchange.name == "jx"
    assert queues["a"].routing_key == "jobs"
    assert queues["a"].queue_arguments == {"x-max-priority": 10}


def test_a_queue_of_kombu_is_read_by_its_attributes() -> None:
    theirs = KombuQueue(
        "media", KombuExchange("m", type="topic"), routing_key="m.#", alias="films", max_length=5
    )

    ours = as_queue(theirs)

    assert ours == Queue(
        name="media",
        exchange=Exchange(name="m", type="topic"),
        routing_key="m.#",
        alias="films",
        max_length=5,
    )
    assert Queues([theirs])["films"].name == "media"


def test_an_unknown_queue_is_made_as_the_settings_say() -> None:
    queues = Queues(create_missing_type="quorum", create_missing_exchange_type="topic")

    made = queues["new"]

    assert made.exchange == Exchange(name="new", type="topic")
    assert made.queue_arguments == {"x-queue-type": "quorum"}
    assert "new" not in [q.name for q in queues.selected]


def test_an_unknown_queue_is_refused_when_none_may_be_made() -> None:
    queues = Queues(["video", "audio"], create_missing=False)

    with pytest.raises(
        QueueNotFound, match=r"no queue 'vidoe' in task_queues.+did you mean 'video'"
    ):
        queues["vidoe"]
    with pytest.raises(QueueNotFound, match="known: video, audio"):
        queues["zzz"]


def test_a_worker_takes_what_it_includes_and_not_what_it_excludes() -> None:
    queues = Queues(["a", "b", Queue(name="c", alias="see")])

    excluded = queues.select(exclude=["b", "unknown"])
    included = Queues(["a", "b"]).select(include=["b", "new"])

    assert [q.name for q in excluded] == ["a", "c"]
    assert [q.name for q in included] == ["b", "new"]


def test_a_worker_may_take_more_and_fewer_queues_later() -> None:
    queues = Queues(["a"])

    queues.select_add("b")
    queues.select_add("c", exchange="x", routing_key="k")
    queues.deselect("a")

    assert [(q.name, q.exchange.name) for q in queues.selected] == [("b", "b"), ("c", "x")]
    assert "a" in queues


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        (
            {"a": {"exchnage": "x"}},
            "task_queues['a']: no option 'exchnage'; did you mean 'exchange'",
        ),
        ([42], "task_queues holds 42"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(declared: Any, says: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=re.escape(says)):
        Queues(declared)


# --- priorities -----------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 12), min_size=2), st.integers(1, 10))
def test_on_redis_numbers_travel_so_that_the_highest_is_served_first(
    numbers: list[int], top: int
) -> None:
    ranking = ranking_of(["rediss://h", "sentinel://h"], "highest")
    queue = Queue("q", max_priority=top)

    sent = [ranking.wire(number, queue) for number in numbers]

    assert all(0 <= number <= 9 for number in sent)
    back = [ranking.own(number, queue) for number in sent]
    assert back == [min(number, top, 9) for number in numbers]
    assert sorted(back, reverse=True) == [ranking.own(number, queue) for number in sorted(sent)]


def test_a_queue_without_priorities_ranks_all_alike_on_redis_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ranking, queue = ranking_of(["redis://h"], "highest"), Queue("q")

    for number in (9, 3, 0):
        assert ranking.place(ranking.wire(number, queue), queue) == 0
        assert ranking.own(ranking.wire(number, queue), queue) == number

    (line,) = caplog.messages
    assert line.startswith("priority 9 has no effect: queue 'q' was declared without priorities")


@pytest.mark.parametrize(
    ("url", "order"), [("redis://h", "celery"), ("sqlite://", "highest"), ("amqp://", "highest")]
)
def test_elsewhere_and_on_request_numbers_travel_as_they_are(url: str, order: str) -> None:
    ranking = ranking_of([url], order)

    for queue in (Queue("q"), Queue("q", queue_arguments={"x-max-priority": 5})):
        assert [ranking.wire(number, queue) for number in (0, 3, 9)] == [0, 3, 9]
        assert [ranking.own(number, queue) for number in (0, 3, 9)] == [0, 3, 9]
        assert ranking.place(9, queue) == 9


def test_kombus_forms_of_queues_and_bindings_are_taken() -> None:
    theirs = KombuQueue(
        "q",
        KombuExchange("x", "topic"),
        "k.#",
        bindings=[kombu.binding(KombuExchange("y"), "z", {"a": 1})],
    )

    # kombu drops the exchange of a queue that is given bindings.
    assert as_queue(theirs).ways_in() == [Binding(Exchange("y"), "z", {"a": 1})]
    several = Queue("q", [Binding("x", "one"), Binding("x", "two")])  # type: ignore[arg-type]
    assert [(one.exchange.name, one.routing_key) for one in several.ways_in()] == [
        ("x", "one"),
        ("x", "two"),
    ]
    for wrong in (lambda: Queue("q", 5), lambda: Queue(None), lambda: Binding(5)):  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"expected, got 5|has a name, got None"):
            wrong()
    with pytest.raises(ValueError, match="unknown delivery_mode 'often': choose transient"):
        Exchange("x", delivery_mode="often")  # type: ignore[arg-type]
