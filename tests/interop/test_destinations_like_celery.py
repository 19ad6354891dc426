"""Where a call goes: both libraries, with the same settings, choose the same for any call.

Neither sends anything: what Celery hands to its producer is caught, and so is our publication.
"""

from __future__ import annotations

import contextlib
import re
from types import SimpleNamespace
from typing import Any

import celery
import kombu
import kombu.common
from hypothesis import given, settings
from hypothesis import strategies as st

import taskctl
from taskctl.core.messaging.producer import gather
from taskctl.core.wire.message import decode_envelope

TASKS = ("proj.add", "proj.mul", "media.video.cut", "media.audio.cut", "other")


def queues_of(lib: Any, broadcast: Any) -> dict[str, Any]:
    """Return the forms of task_queues, made of one library's objects."""
    media = lib.Exchange("media", type="topic")
    return {
        "none": None,
        "list": (
            lib.Queue("celery"),
            lib.Queue("video", media, routing_key="media.video"),
            lib.Queue("audio", media, "media.audio", max_priority=5),
            lib.Queue("mail", lib.Exchange("mail", delivery_mode="transient"), routing_key="post"),
            lib.Queue("heads", lib.Exchange("heads", type="headers"), routing_key=""),
            broadcast("everyone", queue="mine"),
        ),
        "dict": {
            "celery": {"exchange": "celery"},
            "video": {"exchange": "media", "exchange_type": "topic", "routing_key": "media.video"},
            "audio": {"exchange": "media", "exchange_type": "topic", "binding_key": "media.*"},
            "mail": {"exchange": "mail", "routing_key": "post", "alias": "post"},
            "both": {"exchange": "m", "exchange_type": "fanout", "delivery_mode": 1},
        },
        "bare": {"celery": {}, "video": {"routing_key": "v"}},
    }


class OldRouter:
    """A router class of the kind before Celery 4."""

    def route_for_task(self, task: str, args: Any = None, kwargs: Any = None) -> Any:
        if task == "other":
            return {"queue": "audio", "priority": 2}
        return None


def by_arguments(name: str, args: Any, kwargs: Any, options: Any, task: Any = None) -> Any:
    """A router function."""
    if args and args[0] == 9:
        return {"queue": "video", "routing_key": "media.nine", "delivery_mode": 1}
    return "mail" if (kwargs or {}).get("mail") else None


ROUTES: dict[str, Any] = {
    "none": None,
    "dict": {
        "proj.add": "video",
        "proj.*": {"queue": "audio", "priority": 7},
        "media.*": {"exchange": "media", "routing_key": "media.routed"},
    },
    "globs in order": ([("media.video.*", {"queue": "video"}), ("media.*", {"queue": "mail"})],),
    "regex": {re.compile(r"(media|proj)\.a.*"): {"routing_key": "by.regex", "queue": "audio"}},
    "pairs": ([("proj.add", {"queue": "mail"}), ("*", {"queue": "celery"})],),
    "function": by_arguments,
    "function path": f"{__name__}.by_arguments",
    "class path": f"{__name__}.OldRouter",
    "object": OldRouter(),
    "list": [OldRouter(), by_arguments, {"media.*": {"queue": "new"}}],
    "exchange": {"proj.*": {"exchange": "x", "exchange_type": "topic", "routing_key": "k"}},
    "half": {"proj.*": {"routing_key": "only.key"}, "media.*": {"exchange": "only-exchange"}},
}

SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "task_default_queue": st.sampled_from(["celery", "video", "own"]),
        "task_default_exchange": st.sampled_from(["dx", "media"]),
        "task_default_exchange_type": st.sampled_from(["direct", "topic", "fanout"]),
        "task_default_routing_key": st.sampled_from(["dk", "a.b"]),
        "task_default_delivery_mode": st.sampled_from([1, 2, "transient"]),
        "task_default_priority": st.integers(0, 9),
        "task_queue_max_priority": st.integers(1, 10),
        "task_create_missing_queue_exchange_type": st.sampled_from(["topic", "direct", "fanout"]),
        "task_create_missing_queue_type": st.sampled_from(["classic", "quorum"]),
        "task_default_queue_type": st.sampled_from(["classic", "quorum"]),
        "task_create_missing_queues": st.booleans(),
    },
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "queue": st.sampled_from(["celery", "video", "audio", "mail", "post", "everyone", "new"]),
        "exchange": st.sampled_from(["media", "x", ""]),
        "routing_key": st.sampled_from(["media.video.new", "k", ""]),
        "exchange_type": st.sampled_from(["direct", "topic"]),
        "priority": st.integers(0, 9),
        "delivery_mode": st.sampled_from([1, 2]),
        "retry": st.booleans(),
    },
)


def anything(*args: Any, **kwargs: Any) -> None:
    """What is called; nobody runs it."""


class Catcher:
    """Stands in for kombu's producer."""

    connection = SimpleNamespace(_reraise_as_library_errors=contextlib.nullcontext)

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def __enter__(self) -> Catcher:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Nothing was opened."""

    def publish(self, body: Any, **options: Any) -> None:
        self.kept = options


def theirs(routes: str, queues: str, conf: dict[str, Any], call: Any) -> Any:
    """Return where Celery sends a call, or the word for its refusal."""
    name, args, kwargs, options = call
    app = celery.Celery("theirs", set_as_current=False, broker="memory://")
    app.conf.update(
        conf,
        task_routes=ROUTES[routes],
        task_queues=queues_of(kombu, kombu.common.Broadcast)[queues],
    )
    task = app.task(anything, name=name)
    catcher = Catcher()
    try:
        task.apply_async(args, kwargs, producer=catcher, **options)
    except (celery.exceptions.QueueNotFound, KeyError):
        return "no such queue"
    kept = catcher.kept
    exchange, mode = kept["exchange"], kept["delivery_mode"]
    return {
        "exchange": getattr(exchange, "name", exchange) or "",
        "routing_key": kept["routing_key"] or "",
        "priority": kept.get("priority") or 0,
        "delivery_mode": {"transient": 1, "persistent": 2}.get(mode, mode),
        "declared": [
            (
                queue.name, queue.exchange.name, queue.exchange.type, queue.routing_key,
                queue.queue_arguments or {}, queue.max_priority,
            )
            for queue in kept["declare"] or ()
        ],
    }  # fmt: skip


def ours(routes: str, queues: str, conf: dict[str, Any], call: Any) -> Any:
    """Return where we send it."""
    name, args, kwargs, options = call
    app = taskctl.App(
        "ours", set_as_current=False, broker="memory://", task_priority_order="celery",
        task_routes=ROUTES[routes], task_queues=queues_of(taskctl, taskctl.Broadcast)[queues],
        **conf,
    )  # fmt: skip
    task = app.task(anything, name=name)
    declared: list[Any] = []

    def seen(declare: list[Any] = [], **_: Any) -> None:  # noqa: B006
        declared[:] = declare

    taskctl.signals.before_task_publish.connect(seen, weak=False)
    try:
        with gather() as sent:
            task.apply_async(args, kwargs, **options)
    except taskctl.exceptions.QueueNotFound:
        return "no such queue"
    finally:
        taskctl.signals.before_task_publish.disconnect(seen)
        app.close()
    (one,) = sent
    properties = decode_envelope(one.envelope).properties
    return {
        "exchange": one.exchange,
        "routing_key": one.routing_key,
        "priority": properties["priority"],
        "delivery_mode": properties["delivery_mode"],
        "declared": [
            (
                queue.name, queue.exchange.name, queue.exchange.type, queue.routing_key,
                queue.queue_arguments or {}, queue.max_priority,
            )
            for queue in declared
            if queue.name != "mine"  # Celery's clients do not declare a Broadcast
        ],
    }  # fmt: skip


CALLS = st.tuples(
    st.sampled_from(TASKS),
    st.sampled_from([(), (1,), (9,)]),
    st.sampled_from([{}, {"mail": 1}]),
    OPTIONS,
)


@settings(max_examples=300, deadline=None)
@given(
    routes=st.sampled_from(sorted(ROUTES)),
    queues=st.sampled_from(["none", "list", "dict", "bare"]),
    conf=SETTINGS,
    call=CALLS,
)
def test_both_libraries_send_a_call_to_the_same_place(
    routes: str, queues: str, conf: dict[str, Any], call: Any
) -> None:
    found, expected = ours(routes, queues, conf, call), theirs(routes, queues, conf, call)
    if expected == "no such queue" and call[-1].get("queue"):
        # Celery looks up the queue of a route that the call overrides, too.
        return
    if isinstance(expected, dict) and not (expected["exchange"] or expected["routing_key"]):
        # A route that names an exchange alone: Celery sends it nowhere, we somewhere.
        assert found["exchange"] or found["routing_key"]
        return

    assert found == expected
