"""What a call becomes on the wire, compared with what Celery 5.7 sent for the same call."""

from __future__ import annotations

import base64
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as clock_time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from celery.utils.saferepr import saferepr as celerys_saferepr
from hypothesis import given, settings
from hypothesis import strategies as st

from taskctl import App, Exchange, Queue, chain, group, signals
from taskctl.core.errors import EncodeError, PublishTimeout
from taskctl.core.messaging.producer import gather, node_name, reply_queue
from taskctl.core.wire.message import Publication, decode_envelope
from taskctl.core.wire.saferepr import saferepr
from tests.support.servers import RedisServer
from tests.wire import captures

GOLDEN = Path(__file__).parent.parent / "golden"
AWARE = datetime(2030, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)


class Proj:
    """The app of the captures."""

    def __init__(self, **settings: Any) -> None:
        self.app = app = App("proj", broker="memory://golden", set_as_current=False, **settings)
        self.add = app.task(lambda x, y: x + y, name="proj.add", shared=False)
        self.mul = app.task(lambda x, y: x * y, name="proj.mul", shared=False)
        self.echo = app.task(lambda *a, **k: a, name="proj.echo", shared=False)
        self.fail = app.task(lambda: 1 / 0, name="proj.fail", shared=False)
        self.noop = app.task(lambda: None, name="proj.noop", shared=False, ignore_result=True)
        self.old = app.task(lambda task_id: None, name="proj.on_error_old", shared=False)
        self.new = app.task(lambda r, e, t: None, name="proj.on_error_new", shared=False)


def _chain_with_links(p: Proj) -> None:
    steps = chain(p.add.s(1, 2), p.mul.s(3), p.add.s(4))
    steps.link(p.echo.s())
    steps.link_error(p.old.s())
    steps.delay()


def _types(p: Proj) -> None:
    p.echo.delay(
        AWARE,
        datetime(2030, 1, 2, 3, 4, 5),
        date(2030, 1, 2),
        clock_time(3, 4, 5),
        UUID("12345678-1234-5678-1234-567812345678"),
        Decimal("1.10"),
        b"abc",
        b"\xff\x00",
        (1, 2),
        d={"when": datetime(2030, 1, 2, tzinfo=UTC)},
    )


PLUS_TWO = timezone(timedelta(hours=2))
SIXTY = ("x" * 60,)
MIXED = ((1, "a", None, 2.5), {"k": [1, 2]})
CALLS: dict[str, Callable[[Proj], Any]] = {
    "plain": lambda p: p.add.delay(2, 3),
    "kwargs": lambda p: p.add.apply_async((2,), {"y": 3}),
    "countdown": lambda p: p.add.apply_async((2, 3), countdown=30),
    "eta_aware": lambda p: p.add.apply_async(
        (2, 3), eta=datetime(2030, 1, 2, 3, 4, 5, tzinfo=PLUS_TWO)
    ),
    "eta_naive": lambda p: p.add.apply_async((2, 3), eta=datetime(2030, 1, 2, 3, 4, 5)),
    "expires_seconds": lambda p: p.add.apply_async((2, 3), expires=60),
    "expires_datetime": lambda p: p.add.apply_async(
        (2, 3), expires=datetime(2030, 1, 1, tzinfo=UTC)
    ),
    "priority_0": lambda p: p.add.apply_async((2, 3), priority=0),
    "priority_3": lambda p: p.add.apply_async((2, 3), priority=3),
    "priority_5": lambda p: p.add.apply_async((2, 3), priority=5),
    "priority_9": lambda p: p.add.apply_async((2, 3), priority=9),
    "queue_named": lambda p: p.add.apply_async((2, 3), queue="other"),
    "topic_queue": lambda p: p.add.apply_async((2, 3), queue="media", routing_key="media.video"),
    "broadcast_queue": lambda p: p.add.apply_async((2, 3), queue="bcast_tasks"),
    "custom_headers": lambda p: p.add.apply_async(
        (2, 3), headers={"x-tenant": "acme", "trace": {"id": 7}}
    ),
    "time_limits": lambda p: p.add.apply_async((2, 3), time_limit=30, soft_time_limit=20),
    "link": lambda p: p.add.apply_async((2, 3), link=p.mul.s(10)),
    "link_many": lambda p: p.add.apply_async(
        (2, 3),
        link=[p.mul.s(10), p.echo.si("done")],
        link_error=[p.old.s(), p.new.s()],
    ),
    "link_error": lambda p: p.fail.apply_async((), link_error=p.old.s()),
    "chain3": lambda p: chain(p.add.s(1, 2), p.mul.s(3), p.add.s(4))(),
    "chain3_link_error": _chain_with_links,
    "chain_ending_in_group": lambda p: (p.add.s(1, 1) | group(p.mul.s(2), p.mul.s(3)))(),
    "immutable": lambda p: chain(p.add.si(1, 2), p.add.si(3, 4))(),
    "group3": lambda p: group(p.add.s(1, 1), p.add.s(2, 2), p.add.s(3, 3))(),
    "group_of_chains": lambda p: group(
        chain(p.add.s(1, 1), p.mul.s(2)), chain(p.add.s(2, 2), p.mul.s(3))
    )(),
    "chunks": lambda p: p.add.chunks([(1, 1), (2, 2), (3, 3)], 2)(),
    "xmap": lambda p: p.add.map([1, 2]).delay(),
    "ignore_result_call": lambda p: p.add.apply_async((2, 3), ignore_result=True),
    "ignore_result_task": lambda p: p.noop.delay(),
    "shadow": lambda p: p.add.apply_async((2, 3), shadow="pretty name"),
    "task_id": lambda p: p.add.apply_async((2, 3), task_id="my-id-1", reply_to="my.reply.queue"),
    "send_task": lambda p: p.app.send_task("other.module.task", (1,), {"k": "v"}),
    "long_args": lambda p: p.echo.delay("a" * 1500, list(range(60))),
    "types_json": _types,
    "serializer_pickle": lambda p: p.echo.apply_async(*MIXED, serializer="pickle"),
    "serializer_pickle_chain": lambda p: chain(p.add.s(1, 2), p.mul.s(3)).apply_async(
        serializer="pickle"
    ),
    "serializer_msgpack": lambda p: p.echo.apply_async(*MIXED, serializer="msgpack"),
    "serializer_yaml": lambda p: p.echo.apply_async(*MIXED, serializer="yaml"),
    "compression_zlib": lambda p: p.echo.apply_async(SIXTY, compression="zlib"),
    "compression_gzip": lambda p: p.echo.apply_async(SIXTY, compression="gzip"),
    "compression_bzip2": lambda p: p.echo.apply_async(SIXTY, compression="bzip2"),
    "compression_lzma": lambda p: p.echo.apply_async(SIXTY, compression="lzma"),
}

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
#: A time of this run: one that a test wrote down itself is in 2030.
_TIME = re.compile(r"202\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")


def _comparable(envelope: dict[str, Any], names: dict[str, str]) -> str:
    """Return an envelope as text: keys in order, ids named by first appearance, times blanked."""
    properties = envelope["properties"]
    assert properties.pop("delivery_tag")
    if _UUID.fullmatch(properties["reply_to"]):
        names[properties["reply_to"]] = "REPLY"
    if len(properties.get("expiration", "")) > 6:  # until 2030
        properties["expiration"] = "MILLISECONDS"
    if "python-serialize" in envelope["content-type"]:
        envelope["body"] = "PICKLE"  # proved to be readable in tests/interop
    elif "compression" not in envelope["headers"] and "yaml" not in envelope["content-type"]:
        envelope["body"] = base64.b64decode(envelope["body"]).decode("latin-1")
    envelope["headers"]["origin"] = re.sub(r"^gen\d+@.+$", "ORIGIN", envelope["headers"]["origin"])
    text = _TIME.sub("TIME", json.dumps(envelope))
    return _UUID.sub(lambda m: names.setdefault(m[0], f"ID{len(names)}"), text)


def _captured(case: str, broker: str = "redis") -> list[dict[str, Any]]:
    return [
        one.parts
        for one in captures.sent(f"task_{case}")
        if one.broker == broker and one.file == f"task_{case}"
    ]


def _sent(case: str) -> list[dict[str, Any]]:
    """Return the envelopes of what a call sends."""
    media = Queue(
        name="media", exchange=Exchange(name="media", type="topic"), routing_key="media.#"
    )
    everybody = Queue(name="bcast_tasks", exchange=Exchange(name="bcast_tasks", type="fanout"))
    declared = {"topic_queue": media, "broadcast_queue": everybody}
    queues = {"task_queues": [Queue(name="celery"), declared[case]]} if case in declared else {}
    with gather() as publications:
        CALLS[case](Proj(**queues))
    return [json.loads(publication.envelope) for publication in publications]


@pytest.mark.parametrize("case", [case for case in CALLS if case != "broadcast_queue"])
def test_a_call_is_written_as_celery_writes_it(case: str) -> None:
    ours: dict[str, str] = {}
    theirs: dict[str, str] = {}
    sent = [_comparable(envelope, ours) for envelope in _sent(case)]
    assert sent == [_comparable(envelope, theirs) for envelope in _captured(case)]


@pytest.mark.parametrize("case", CALLS)
def test_a_call_has_the_properties_that_celery_gives_to_rabbitmq(case: str) -> None:
    def comparable(envelope: dict[str, Any], names: dict[str, str]) -> str:
        # AMQP has an order of its own for properties, and knows no others.
        del envelope["properties"]["body_encoding"]
        envelope["properties"] = dict(sorted(envelope["properties"].items()))
        return _comparable(envelope, names)

    ours: dict[str, str] = {}
    theirs: dict[str, str] = {}
    sent = [comparable(envelope, ours) for envelope in _sent(case)]
    assert sent == [comparable(envelope, theirs) for envelope in _captured(case, "amqp")]


def test_the_task_sent_event_is_written_as_celery_writes_it() -> None:
    proj = Proj(task_send_sent_event=True)
    connection = proj.app.shared_connection()
    connection.broker.listen("celeryev", "#")

    proj.add.delay(2, 3)

    (heard,) = connection.broker.hear()
    event = json.loads(decode_envelope(heard.envelope).body)
    (captured,) = (
        json.loads(base64.b64decode(envelope["body"]))
        for envelope in _captured("sent_event")
        if "task" not in envelope["headers"]
    )
    assert heard.routing_key == "task.sent"
    assert list(event) == list(captured)
    blank = dict.fromkeys(
        ("hostname", "utcoffset", "pid", "uuid", "root_id", "timestamp", "clock"), None
    )
    assert {**event, **blank} == {**captured, **blank}


# --- the parts of a message -------------------------------------------------------------------


@pytest.fixture
def app() -> Iterator[App]:
    with App("proj", broker="memory://producer", set_as_current=False) as app:
        yield app


def _encoded(app: App, *args: Any, **options: Any) -> Publication:
    return app.producer.encode("proj.add", args, {}, options)


def _headers(publication: Publication) -> dict[str, Any]:
    return decode_envelope(publication.envelope).headers


def test_a_countdown_becomes_an_eta_in_the_zone_of_the_app_and_a_due_time() -> None:
    app = App(broker="memory://zone", timezone="Europe/Berlin", set_as_current=False)

    publication = _encoded(app, countdown=3600)

    eta = datetime.fromisoformat(_headers(publication)["eta"])
    assert eta.utcoffset() in (timedelta(hours=1), timedelta(hours=2))
    assert eta.timestamp() == pytest.approx(time.time() + 3600, abs=5)
    assert publication.due == pytest.approx(eta.timestamp(), abs=0.001)


def test_a_countdown_wins_over_an_eta(app: App) -> None:
    publication = _encoded(app, countdown=60, eta=datetime(2040, 1, 1, tzinfo=UTC))

    assert publication.due == pytest.approx(time.time() + 60, abs=5)


def test_an_eta_without_an_offset_is_due_in_the_zone_of_the_app() -> None:
    app = App(broker="memory://zone", timezone="Asia/Tokyo", set_as_current=False)

    publication = _encoded(app, eta="2040-01-01T09:00:00")

    assert publication.due == datetime(2040, 1, 1, tzinfo=UTC).timestamp()
    assert _headers(publication)["eta"] == "2040-01-01T09:00:00"


def test_a_time_that_has_passed_is_due_at_once(app: App) -> None:
    assert _encoded(app, eta=datetime(2020, 1, 1, tzinfo=UTC)).due is None
    assert _encoded(app, countdown=0).due is None


def test_what_expired_before_it_was_sent_has_no_time_left(app: App) -> None:
    message = decode_envelope(_encoded(app, expires=datetime(2020, 1, 1, tzinfo=UTC)).envelope)

    assert message.properties["expiration"] == "0"


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"countdown": "10"}, TypeError, "countdown must be seconds, got '10'"),
        ({"eta": 10}, TypeError, "eta must be a datetime or ISO 8601 text, got 10"),
        ({"eta": "tomorrow"}, ValueError, "eta: not an ISO 8601 time: 'tomorrow'"),
        ({"countdown": 1e18}, ValueError, "countdown is out of range"),
        (
            {"time_limit": 1, "soft_time_limit": 2},
            ValueError,
            "soft_time_limit (2 s) is beyond time_limit (1 s)",
        ),
        ({"delivery_mode": 3}, ValueError, "unknown delivery_mode 3"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    app: App, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=re.escape(says)):
        _encoded(app, **options)


def test_arguments_that_cannot_be_written_are_refused_before_anything_is_sent(app: App) -> None:
    with pytest.raises(EncodeError, match=r"argument args\[0\] cannot be sent as json"):
        app.producer.send("proj.add", (object(),), {}, {"queue": "refused"})

    assert app.shared_connection().broker.size("refused") == 0


def test_the_option_of_a_well_known_program_travels_as_a_property(app: App) -> None:
    message = decode_envelope(_encoded(app, periodic_task_name="nightly").envelope)

    assert message.properties["periodic_task_name"] == "nightly"


def test_options_for_the_caller_do_not_travel(app: App) -> None:
    message = decode_envelope(_encoded(app, add_to_parent=True, retry=False, timeout=3).envelope)

    assert not {"add_to_parent", "retry", "timeout"} & message.properties.keys()


def test_replies_come_to_a_queue_of_the_process_and_the_app() -> None:
    names = [reply_queue(1), reply_queue(2)]
    thread = threading.Thread(target=lambda: names.append(reply_queue(1)))
    thread.start()
    thread.join()

    assert names[2] == names[0]
    assert len({*names}) == 2
    assert all(UUID(name).version == 3 for name in names)


def test_a_forked_process_has_a_name_and_a_reply_queue_of_its_own() -> None:
    mine = (node_name(), reply_queue(7))
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, json.dumps([node_name(), reply_queue(7)]).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    theirs = json.loads(os.read(reader, 1000))
    os.close(reader)
    os.close(writer)

    assert theirs[0] == f"gen{pid}@{mine[0].partition('@')[2]}"
    assert theirs[1] != mine[1]


# --- sending ----------------------------------------------------------------------------------


def test_a_receiver_of_before_task_publish_may_change_what_is_sent(app: App) -> None:
    def tag(headers: dict[str, Any], properties: dict[str, Any], **_: Any) -> None:
        headers["trace"] = "t1"
        properties["app_id"] = "shop"

    signals.before_task_publish.connect(tag, sender="proj.add")
    try:
        message = decode_envelope(_encoded(app, 1).envelope)
    finally:
        signals.before_task_publish.disconnect(tag, sender="proj.add")

    assert message.headers["trace"] == "t1"
    assert message.properties["app_id"] == "shop"


def test_after_task_publish_names_where_the_message_went(app: App) -> None:
    told: list[tuple[Any, ...]] = []

    def note(
        sender: str, headers: Any, body: Any, exchange: str, routing_key: str, **_: Any
    ) -> None:
        told.append((sender, headers["id"], body[0], exchange, routing_key))

    signals.after_task_publish.connect(note)
    try:
        app.send_task("proj.add", (1, 2), task_id="t-1", queue="told")
    finally:
        signals.after_task_publish.disconnect(note)

    assert told == [("proj.add", "t-1", (1, 2), "", "told")]


def test_a_batch_leaves_in_one_step_and_not_at_all_after_an_error(app: App) -> None:
    broker = app.shared_connection().broker
    producer = app.producer

    with producer.batch():
        producer.send("proj.add", (1,), {}, {"queue": "batch"})
        producer.send("proj.add", (2,), {}, {"queue": "batch"})
        before = broker.size("batch")
    with pytest.raises(EncodeError), producer.batch():
        producer.send("proj.add", (3,), {}, {"queue": "batch"})
        producer.send("proj.add", (object(),), {}, {"queue": "batch"})

    assert (before, broker.size("batch")) == (0, 2)


def test_a_broker_that_hangs_makes_a_call_fail_in_time_and_say_so() -> None:
    server = RedisServer().start()
    try:
        app = App(broker=server.url, broker_publish_timeout=0.5, set_as_current=False)
        app.send_task("proj.add")
        server.pause()
        began = time.monotonic()

        with pytest.raises(PublishTimeout, match=r"proj\.add\[t-9\] may not have been sent: redis"):
            app.send_task("proj.add", task_id="t-9")

        assert time.monotonic() - began < 3
    finally:
        server.stop()


# --- arguments for people -----------------------------------------------------------------------

_plain = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(alphabet="ab' \\\n\u00e9", max_size=30)
    | st.binary(max_size=20)
    | st.decimals(allow_nan=False)
    | st.dates()
)
_values = st.recursive(
    _plain,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text("ab", max_size=3) | st.integers(), inner, max_size=3)
        | st.frozensets(st.integers(), max_size=3)
    ),
    max_leaves=15,
)


@settings(max_examples=300, deadline=None)
@given(_values, st.sampled_from([None, 1, 5, 20, 100, 1024]), st.integers(1, 4))
def test_arguments_read_as_in_celery(value: Any, length: int | None, levels: int) -> None:
    assert saferepr(value, length, levels) == celerys_saferepr(value, length, levels)


def test_a_value_that_cannot_be_shown_is_named() -> None:
    class Shy:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert saferepr((Shy(),)) == "(<unprintable Shy: RuntimeError>,)"


def test_a_container_in_itself_is_shown_once() -> None:
    loop: list[Any] = [1]
    loop.append(loop)

    assert saferepr(loop, 100, 0) == celerys_saferepr(loop, 100, 0)
