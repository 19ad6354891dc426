"""What goes wrong between a RabbitMQ and us: refusals, alarms, silence, queues deleted under us."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskctl.core.brokers import open_broker
from taskctl.core.brokers.amqp import AmqpBroker
from taskctl.core.errors import (
    BrokerConnectionError,
    BrokerError,
    ImproperlyConfigured,
    PublishTimeout,
)
from taskctl.core.messaging.connection import Connection
from taskctl.core.wire.queues import Exchange, Queue, direct_queue

from ..support.certificates import Authority
from ..support.gate import Gate
from ..support.rabbit import RabbitControl, text
from ..support.servers import free_port
from ..support.waiting import eventually
from .cases import collect, tags, texts
from .peer import publication, text_of, wait_readable

Open = Callable[..., AmqpBroker]


@pytest.fixture
def open_amqp(rabbitmq_url: str) -> Iterator[Open]:
    """A function that opens a broker, which is closed at the end; with an owner it consumes q."""
    made: list[Any] = []

    def make(owner: str | None = None, url: str = rabbitmq_url, **options: Any) -> Any:
        broker = open_broker(url, options=options, owner=owner)
        made.append(broker)
        broker.open()
        if owner is not None:
            broker.subscribe(direct_queue("q"))
        return broker

    yield make
    for broker in made:
        broker.close()


@pytest.fixture
def gate(rabbitmq_url: str) -> Iterator[Gate]:
    """A door before the server; `through` gives the URL."""
    port = int(rabbitmq_url.rpartition(":")[2].partition("/")[0])
    gate = Gate(port)
    yield gate
    gate.close()


def through(gate: Gate, url: str) -> str:
    return url.replace(f":{gate.target}/", f":{gate.port}/")


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (("guest:guest", "guest:wrong"), BrokerError, "check user and password"),
        (("/t", "/nowhere-"), BrokerError, r"no virtual host 'nowhere-\d+': the path of the URL"),
        (("127.0.0.1:{port}", "127.0.0.1:{free}"), BrokerConnectionError, "connection refused"),
        (("amqp://", "amqps://"), BrokerConnectionError, "no TLS connection|reset by peer"),
        (("//guest", "//guest"), None, ""),
    ],
)
def test_a_connection_that_is_refused_says_why_without_the_password(
    rabbitmq_url: str, change: tuple[str, str], kind: type[Exception] | None, said: str
) -> None:
    port = rabbitmq_url.rpartition(":")[2].partition("/")[0]
    old, new = (part.format(port=port, free=free_port()) for part in change)
    broker = open_broker(rabbitmq_url.replace(old, new))
    if kind is None:
        broker.open()
        assert broker.server_version().startswith("RabbitMQ 3.")
        broker.close()
        return

    with pytest.raises(BrokerError, match=said) as caught:
        broker.open()

    assert isinstance(caught.value, kind)
    assert "guest:" not in str(caught.value).replace("guest:********", "")


def test_a_user_who_may_not_is_told_what_and_does_without_notes(
    open_amqp: Open,
    rabbitmq_control: RabbitControl,
    rabbitmq_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    vhost = rabbitmq_url.rpartition("/")[2]
    # As for Celery's own names, and those of its private queues.
    mine = text("^(amq.default|q|celery.*|.*[.]pidbox)$")
    who = [text("guest"), text(vhost), mine, mine, mine, text("test")]
    rabbitmq_control.call("rabbit_auth_backend_internal", "set_permissions", *who)
    with caplog.at_level(logging.WARNING):
        broker = open_amqp(owner="one")

        with pytest.raises(BrokerError, match=r"refuses access while declaring queue 'images'"):
            broker.declare(direct_queue("images"))
        broker.listen("celery.pidbox")
        broker.listen("taskctl.pauses")
        broker.register("one@host", {}, 30.0)
        broker.publish([publication("a")])
        (loan,) = collect(broker, 1)
        broker.reject([loan.tag], requeue=True, lost=True)
        (loan,) = collect(broker, 1)

    assert (loan.deliveries, broker.nodes(), broker.paused(), broker.reclaim()) == (1, [], {}, [])
    broker.retire()
    assert caplog.text.count("may not use queue 'taskctl.") == 1
    assert r"allow ^taskctl\. with rabbitmqctl set_permissions" in caplog.text


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            direct_queue("images", max_priority=5),
            r"queue 'images' exists .* other arguments: x-max-priority is 9 there, 5 was asked",
        ),
        (direct_queue("images"), r"queue 'images' .*: x-max-priority is 9 there, none was asked"),
        (
            direct_queue("images", max_priority=9, durable=False),
            r"queue 'images' .*: durable is true there, false was asked",
        ),
        (
            Queue(name="other", exchange=Exchange(name="images", type="topic")),
            r"exchange 'images' .*: type is direct there, topic was asked",
        ),
    ],
)
def test_what_exists_with_other_arguments_is_explained_in_one_line(
    open_amqp: Open, asked: Queue, said: str
) -> None:
    broker = open_amqp()
    broker.declare(direct_queue("images", max_priority=9))

    with pytest.raises(BrokerError, match=said) as caught:
        broker.declare(asked)

    assert "\n" not in str(caught.value)
    broker.declare(direct_queue("images", max_priority=9))


def test_a_full_queue_that_takes_no_more_is_no_success(open_amqp: Open) -> None:
    broker = open_amqp()
    full = {"x-overflow": "reject-publish"}
    broker.declare(Queue(name="small", max_length=2, queue_arguments=full))
    broker.publish([publication("a", "small"), publication("b", "small")])

    with pytest.raises(
        BrokerError, match=r"did not take 1 of 1 messages for 'small': a queue is f"
    ):
        broker.publish([publication("c", "small")])

    broker.publish([publication("d", "elsewhere")])
    assert broker.size("small") == 2


def test_headers_that_fit_no_frame_are_refused_and_the_line_stands(open_amqp: Open) -> None:
    broker = open_amqp()
    large = publication("x" * 200_000)

    with pytest.raises(BrokerError, match="the headers of a message take 200"):
        broker.publish([large])

    broker.publish([publication("small")])
    assert [text_of(e) for e in broker.peek("q")] == ["small"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"hartbeat": 3}, "'hartbeat' is no option of a RabbitMQ broker: did you mean heartbeat?"),
        ({"socket_timeout": "soon"}, "socket_timeout: expected `float`"),
        ({"ssl": {"ca_certs": "/nowhere.pem"}}, "TLS settings of the broker: .*No such file"),
        ({"ssl": {"cacert": "x"}}, "unknown TLS option 'cacert'"),
        ({"login_method": "KERBEROS"}, "unknown login method 'KERBEROS'"),
    ],
)
def test_options_that_make_no_sense_are_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=said):
        open_broker("amqp://host", options=given)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("amqp://user:se/cret@host:x/", "the port must be a number"),
        ("amqp://host/?heartbeat=often", "heartbeat in the broker URL must be seconds"),
        ("amqp://host/?ssl_ca_certs=x", "write amqps:// instead of amqp://"),
        ("amqp://host/?frames=7", "unknown option 'frames' in the broker URL"),
    ],
)
def test_urls_that_make_no_sense_say_what_is_wrong(url: str, said: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=said) as caught:
        open_broker(url)

    assert "cret" not in str(caught.value)


# --- alarms and silence -------------------------------------------------------------------------


def test_a_server_out_of_memory_is_waited_for_until_the_deadline(
    open_amqp: Open, rabbitmq_control: RabbitControl
) -> None:
    broker = open_amqp(owner="one", socket_timeout=0.7)
    broker.register("one@host", {}, 30.0)
    broker.publish([publication("a"), publication("b")])
    loans = collect(broker, 2)
    rabbitmq_control.set_memory_limit("0.0000001")
    try:
        client = open_amqp(socket_timeout=0.7)
        with pytest.raises(
            PublishTimeout, match=r"takes no messages now: low on memory|within 0.7"
        ):
            client.publish([publication("c")])
        started = time.monotonic()
        # Whoever publishes is not read from any more; what was taken can be acknowledged.
        broker.ack(tags(loans))
        broker.receive(0)
        assert time.monotonic() - started < 0.5
    finally:
        rabbitmq_control.set_memory_limit("0.4")

    def published() -> bool:
        client.open()
        try:
            client.publish([publication("d")])
        except BrokerConnectionError:
            return False
        return True

    eventually(published)
    assert texts(collect(broker, 1)) in (["c"], ["d"])


def test_a_server_that_falls_silent_is_noticed_by_its_heartbeat(
    open_amqp: Open, gate: Gate, rabbitmq_url: str
) -> None:
    broker = open_amqp(owner="one", url=through(gate, rabbitmq_url), heartbeat=1)
    still = open_amqp(owner="two", heartbeat=1)
    broker.receive(1)
    gate.shut()

    def noticed() -> bool:
        still.receive(0)
        try:
            broker.receive(0)
        except BrokerConnectionError as exc:
            return "has been silent for" in str(exc)
        return False

    eventually(noticed, within=20)

    # By now the server would have given up on who does not beat.
    still.publish([publication("a")])
    assert texts(collect(still, 1)) == ["a"]


def test_a_server_that_does_not_answer_is_not_waited_for_longer_than_the_timeout(
    open_amqp: Open, gate: Gate, rabbitmq_url: str
) -> None:
    broker = open_amqp(url=through(gate, rabbitmq_url), socket_timeout=0.3)
    broker.publish([publication("first")])
    gate.shut()

    with pytest.raises(PublishTimeout, match=r"did not answer within 0\.3 s"):
        broker.publish([publication("a")])
    with pytest.raises(BrokerConnectionError, match="did not answer within"):
        broker.open(0.2)


def test_a_connection_that_an_operator_closes_is_a_lost_one(
    open_amqp: Open, rabbitmq_control: RabbitControl
) -> None:
    broker = open_amqp(owner="one")
    rabbitmq_control.close_connections()

    def lost() -> bool:
        try:
            broker.receive(1)
        except BrokerConnectionError as exc:
            return "closed the connection" in str(exc)
        return False

    eventually(lost)
    broker.open()
    broker.subscribe(direct_queue("q"))
    broker.publish([publication("a")])
    assert texts(collect(broker, 1)) == ["a"]


def test_of_several_urls_the_next_one_takes_over(gate: Gate, rabbitmq_url: str) -> None:
    dead = f"amqp://127.0.0.1:{free_port()}//"
    urls = [dead, through(gate, rabbitmq_url), rabbitmq_url]
    connection = Connection(urls, options={"socket_timeout": 0.5}, timeout=2.0)
    with connection:
        connection.publish([publication("a")])
        assert connection.url == urls[1]

        gate.close()
        eventually(lambda: _published(connection, "b"))

        assert connection.url == rabbitmq_url
        assert connection.broker.size("q") == 2


def _published(connection: Connection, what: str) -> bool:
    try:
        connection.publish([publication(what)])
    except BrokerConnectionError:
        return False
    return True


# --- queues that change under us ----------------------------------------------------------------


def test_a_queue_deleted_under_its_consumer_is_declared_again_and_told(
    open_amqp: Open, caplog: pytest.LogCaptureFixture
) -> None:
    broker, other = open_amqp(owner="one"), open_amqp()
    broker.publish([publication("a")])
    broker.ack(tags(collect(broker, 1)))
    broker.receive(1)

    with caplog.at_level(logging.WARNING):
        other.delete("q")
        eventually(lambda: broker.receive(1) == [] and other.exists("q"))

    assert "queue 'q' was deleted at the broker under us: declaring it again" in caplog.text
    assert other.bindings() == [], "its name is noted when a program of ours declares it"
    other.publish([publication("b", exchange="q", routing_key="q")])
    assert texts(collect(broker, 1)) == ["b"], "with its binding"


def test_a_message_for_a_reply_queue_that_is_gone_makes_no_queue(open_amqp: Open) -> None:
    from taskctl.core.wire.message import Publication, encode_envelope

    broker = open_amqp()
    reply = encode_envelope(
        b"{}",
        content_type="application/json",
        content_encoding="utf-8",
        headers={},
        properties={"correlation_id": "1", "delivery_mode": 1},
        exchange="",
        routing_key="nobody",
    )

    broker.publish([Publication(exchange="", routing_key="nobody", envelope=reply)])

    assert not broker.exists("nobody")


def test_what_lies_here_and_is_not_wanted_goes_back_for_others(open_amqp: Open) -> None:
    greedy, other = open_amqp(owner="one"), open_amqp(owner="two")
    greedy.receive(30)
    greedy.publish([publication(str(n)) for n in range(30)])
    (loan,) = collect(greedy, 1, limit=1)

    def all_but_one() -> bool:
        greedy.receive(0)
        return other.size("q") == 29

    eventually(all_but_one)

    back = collect(other, 29)
    assert texts(back) == [str(n) for n in range(1, 30)]
    assert {d.deliveries for d in back} <= {0, 1}
    greedy.ack([loan.tag])


def test_acknowledgements_of_a_run_are_one_word(open_amqp: Open) -> None:
    broker = open_amqp(owner="one")
    broker.publish([publication(str(n)) for n in range(300)])
    loans = collect(broker, 300)
    said: list[bytes] = []
    line = broker._ready().line
    send, line.send = line.send, lambda data: said.append(data) or send(data)  # type: ignore[func-returns-value, method-assign]

    broker.ack(tags(loans)[:200])
    broker.ack(tags(loans)[210:])
    broker.ack(tags(loans)[200:210])

    assert [len(words) for words in said] == [21, 21 * 90, 21]
    line.send = send  # type: ignore[method-assign]
    eventually(lambda: not broker.receive(0) and broker.size("q") == 0)


def test_a_message_is_swapped_by_the_envelope_it_was_sent_in_too(open_amqp: Open) -> None:
    broker = open_amqp()
    first, second = publication("a"), publication("b")
    broker.publish([first, second])

    assert broker.swap("q", second.envelope, [publication("c", "elsewhere")])

    assert not broker.swap("q", second.envelope)
    assert [text_of(e) for e in broker.peek("q")] == ["a"]


# --- TLS ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def tls_port(rabbitmq_control: RabbitControl, authority: Authority) -> int:
    pair = authority.issue("server")
    return rabbitmq_control.speak_tls(pair.certificate, pair.key, authority.certificate)


def tls_url(url: str, port: int, query: str = "") -> str:
    vhost = url.rpartition("/")[2]
    return f"amqps://guest:guest@127.0.0.1:{port}/{vhost}{query}"


def test_tasks_travel_over_tls(
    open_amqp: Open, rabbitmq_url: str, tls_port: int, authority: Authority
) -> None:
    known = tls_url(rabbitmq_url, tls_port, f"?ssl_ca_certs={authority.certificate}")
    broker = open_amqp(owner="one", url=known)
    broker.publish([publication(str(n)) for n in range(500)])

    received = collect(broker, 500, within=20)

    assert texts(received) == [*map(str, range(500))]
    broker.ack(tags(received))
    eventually(lambda: broker.size("q") == 0 and not wait_readable(broker, 0.05))


def test_tls_settings_come_as_broker_use_ssl_too(
    open_amqp: Open, rabbitmq_url: str, tls_port: int, authority: Authority
) -> None:
    trusting = {"ca_certs": str(authority.certificate), "cert_reqs": "CERT_REQUIRED"}
    client = authority.issue("client")
    mutual = {**trusting, "certfile": str(client.certificate), "keyfile": str(client.key)}

    for settings in (trusting, mutual, {"cert_reqs": "none"}):
        open_amqp(url=tls_url(rabbitmq_url, tls_port), ssl=settings).publish([publication("a")])


def test_a_certificate_that_is_not_trusted_is_refused_with_the_cure(
    open_amqp: Open, rabbitmq_url: str, tls_port: int, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "somebody else")

    for query in ("", f"?ssl_ca_certs={stranger.certificate}"):
        with pytest.raises(BrokerConnectionError, match=r"is not trusted: .*; name the CA with"):
            open_amqp(url=tls_url(rabbitmq_url, tls_port, query))
