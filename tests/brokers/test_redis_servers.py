"""The Redis broker at servers of every shape and in every mood: TLS, rights, roles, modes."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Consumer, Producer
from kombu import Exchange as KombuExchange
from kombu import Queue as KombuQueue

from taskctl import App
from taskctl.core.brokers import redis_greeting
from taskctl.core.brokers.redis import RedisBroker
from taskctl.core.errors import BrokerConnectionError, BrokerError, ImproperlyConfigured
from taskctl.core.wire.queues import Exchange, Queue, direct_queue

from ..support import redis_servers
from ..support.certificates import Authority
from ..support.redis_servers import ConfiguredRedis, TlsRedis
from ..support.waiting import eventually
from .cases import collect
from .peer import publication, wait_readable

Open = Callable[..., RedisBroker]


@pytest.fixture
def open_at() -> Iterator[Open]:
    """A function that opens a broker at a URL."""
    made: list[RedisBroker] = []

    def make(url: str, owner: str | None = None, **options: Any) -> RedisBroker:
        broker = RedisBroker(url, options=options, owner=owner)
        made.append(broker)
        broker.open()
        return broker

    yield make
    for broker in made:
        broker.close()


@pytest.fixture(scope="module")
def server() -> Iterator[ConfiguredRedis]:
    """A server for tests that put everything back as it was."""
    made = ConfiguredRedis({"unixsocket": "redis.sock"})
    try:
        yield made.start()
    finally:
        made.stop()


# --- TLS and unix sockets -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def tls_server(authority: Authority) -> Iterator[TlsRedis]:
    """A server that wants a certificate of its clients too."""
    server = TlsRedis(authority, required=True)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def trust(authority: Authority) -> dict[str, Any]:
    """`broker_use_ssl` of a client that the server takes."""
    mine = authority.issue("client")
    return {
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
        "ssl_ca_certs": str(authority.certificate),
        "ssl_certfile": str(mine.certificate),
        "ssl_keyfile": str(mine.key),
    }


def test_tls_is_spoken_with_certificates_on_both_sides(
    open_at: Open, tls_server: TlsRedis, trust: dict[str, Any]
) -> None:
    query = "&".join(f"{name}={value}" for name, value in trust.items() if "reqs" not in name)
    consumer = open_at(tls_server.tls_url, owner="one", ssl=trust)
    sender = open_at(f"{tls_server.tls_url}?ssl_cert_reqs=required&{query}")
    consumer.register("one@host", {}, 30.0)
    consumer.subscribe(direct_queue("q"))
    assert consumer.receive(1) == []

    sender.publish([publication("a" * 100_000)])

    assert wait_readable(consumer, 5), "the listening line speaks TLS too"
    assert len(consumer.receive(1)) == 1
    consumer.retire()


def test_a_server_of_an_unknown_authority_is_refused_in_one_line(
    open_at: Open, tls_server: TlsRedis, trust: dict[str, Any], tmp_path: Path
) -> None:
    stranger = Authority(tmp_path)

    with pytest.raises(BrokerConnectionError, match="certificate") as caught:
        open_at(tls_server.tls_url, ssl={**trust, "ssl_ca_certs": str(stranger.certificate)})

    assert "\n" not in str(caught.value)
    assert "ssl_ca_certs" in str(caught.value)


def test_a_name_the_certificate_lacks_is_refused(
    open_at: Open, authority: Authority, tls_server: TlsRedis, trust: dict[str, Any]
) -> None:
    url = tls_server.tls_url.replace("localhost", "[::ffff:127.0.0.1]")

    with pytest.raises(BrokerConnectionError, match=r"certificate.*ssl_check_hostname"):
        open_at(url, ssl=trust)
    open_at(url, ssl={**trust, "ssl_check_hostname": False})


def test_a_client_without_certificate_is_told_what_to_set(
    open_at: Open, tls_server: TlsRedis, trust: dict[str, Any]
) -> None:
    bare = {name: trust[name] for name in ("ssl_cert_reqs", "ssl_ca_certs")}

    with pytest.raises(BrokerConnectionError, match="ssl_certfile"):
        open_at(tls_server.tls_url, ssl=bare)


def test_speaking_plainly_to_tls_and_the_other_way_round_is_one_line(
    open_at: Open, tls_server: TlsRedis, server: ConfiguredRedis, trust: dict[str, Any]
) -> None:
    with pytest.raises(BrokerConnectionError) as caught:
        open_at(f"redis://localhost:{tls_server.tls_port}/0")
    assert "rediss://" in str(caught.value)
    with pytest.raises(BrokerConnectionError, match="does it speak TLS on this port") as caught:
        RedisBroker(f"rediss://localhost:{server.port}/0", options={"ssl": trust}).open(timeout=0.3)
    assert "\n" not in str(caught.value)


def test_a_certificate_file_that_is_not_there_is_named(open_at: Open) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"ssl_ca_certs: the file /no/such\.pem is not"):
        open_at("rediss://localhost:1/0", ssl={"ssl_ca_certs": "/no/such.pem"})


def test_an_app_speaks_tls_with_celerys_settings(
    tls_server: TlsRedis, trust: dict[str, Any]
) -> None:
    url = tls_server.tls_url.replace("rediss", "redis")
    with App("a", broker=url, set_as_current=False) as app:
        app.conf.broker_use_ssl = trust

        app.send_task("t", queue="tls")

        assert app.count_waiting(["tls"]) == {"tls": 1}
        assert app.purge_queues(["tls"]) == {"tls": 1}


def test_a_unix_socket_is_spoken_to(open_at: Open, server: ConfiguredRedis) -> None:
    path = server.folder / "redis.sock"
    broker = open_at(f"redis+socket://{path}?virtual_host=1")

    broker.publish([publication("a")])

    assert server.ask("INFO", "keyspace")["db1"]["keys"] == 1
    assert broker.purge("q") == 1
    with pytest.raises(BrokerConnectionError, match=r"redis\+socket:///no/such db 0: no such file"):
        open_at("redis+socket:///no/such")


# --- rights -------------------------------------------------------------------------------------


def page() -> str:
    return (Path(__file__).parents[2] / "docs" / "redis.md").read_text()


def rights_in_the_page() -> list[str]:
    """Return the words of the user that docs/redis.md tells operators to make."""
    block = re.search(r"```\nACL SETUSER tasks (.*?)```", page(), re.DOTALL)
    assert block is not None
    return block[1].replace("\\\n", " ").split()


@pytest.fixture
def user(server: ConfiguredRedis) -> Iterator[Callable[..., str]]:
    """A function that gives user `tasks` the rights of the page and some more words, or fewer;
    it returns the user's URL."""

    def make(*words: str) -> str:
        server.ask("ACL", "DELUSER", "tasks")
        server.ask("ACL", "SETUSER", "tasks", *rights_in_the_page(), *words)
        return server.url.replace("//", "//tasks:secret@")

    yield make
    server.ask("ACL", "DELUSER", "tasks")
    server.ask("FLUSHALL")


def test_the_rights_of_the_page_are_enough_for_everything(
    open_at: Open, user: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    broker = open_at(user(), owner="one")
    private = Queue(name="x.reply.celery.pidbox", routing_key="x", expires=10.0,
                    exchange=Exchange(name="reply.celery.pidbox"))  # fmt: skip
    broker.register("one@host", {}, 30.0)
    broker.subscribe(direct_queue("celery"))
    broker.declare(private)
    broker.listen("celery.pidbox")
    broker.listen("celeryev", "worker.#")
    assert broker.receive(1) == []
    broker.publish([publication(str(n), "celery", priority=n) for n in range(9)])
    assert wait_readable(broker, 5)
    one, two, three, *_ = collect(broker, 9)
    broker.started([one.tag])
    broker.ack([one.tag], [publication("next", "celery")])
    broker.reject([two.tag], requeue=True, lost=True)
    broker.park(three.tag, 4e9, "task")
    assert len(broker.parked()) == 1
    assert len(broker.cancel_parked(["task"])) == 1
    assert broker.broadcast("celery.pidbox", "", b"x") == 1
    assert len(eventually(broker.hear)) == 1
    assert broker.take(private.name) == []
    broker.pause("celery")
    assert broker.paused().keys() == {"celery"}
    assert broker.resume("celery")
    assert [found.name for found in broker.queues()] == ["celery"]
    assert broker.exists("celery") and not broker.exists("celery.none")
    assert broker.swap("celery", broker.peek("celery")[0])
    assert broker.reclaim() == []
    assert broker.nodes()[0].name == "one@host"
    assert broker.diagnose()["orphans"] == 0
    broker.delete(private.name)
    broker.retire()
    assert broker.delete("celery") >= 7
    assert not caplog.messages


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["-evalsha"], r"ACL SETUSER tasks \+evalsha$"),
        (["-lpush", "-hset", "-client|id"], r"tasks \+client\|id \+lpush \+hset"),
        (["-exec"], r"tasks \+multi \+exec \+discard$"),
        (["resetkeys", "~celery*", "~_kombu*", "~taskctl*"], "tasks ~unacked ~unacked_index"),
    ],
)
def test_a_consumer_without_a_right_is_told_before_it_takes_anything(
    open_at: Open, user: Callable[..., str], words: list[str], named: str
) -> None:
    with pytest.raises(BrokerError, match=f"user 'tasks' lacks rights: .*{named}") as caught:
        open_at(user(*words), owner="one")

    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_refused_key_channel_or_command_is_named(open_at: Open, user: Callable[..., str]) -> None:
    broker = open_at(user("-del", "resetchannels", "&/0.celery.pidbox"))

    for refused, named in (
        (lambda: broker.publish([publication("a", "other")]), "tasks .*~other$"),
        (lambda: broker.purge("celery"), r"tasks \+del$"),
        (lambda: broker.broadcast("hidden", "", b"x"), r"&/0\.hidden$"),
        (lambda: broker.listen("hidden"), r"&/0\.hidden$"),
    ):
        with pytest.raises(BrokerError, match=named):
            refused()
    assert broker.size("celery") == 0, "the line is as good as before"


def test_celery_shares_the_user_with_the_rights_the_page_adds_for_it(
    user: Callable[..., str],
) -> None:
    added = re.findall(r"Celery's own workers also need `([^`]+)`", page())
    url = user(*added[0].split())
    exchange = KombuExchange("celeryev", type="fanout")
    with Connection(url) as connection, connection.SimpleQueue("celery") as queue:
        for priority in (0, 9):
            queue.put({"a": 1}, priority=priority)
        queue.get(timeout=5).ack()
        queue.get(timeout=5).reject(requeue=True)
        connection.default_channel.qos.restore_visible(interval=1)
        bound = KombuQueue("celeryev.ears", exchange, routing_key="worker.#", auto_delete=True)
        with Consumer(connection, [bound], callbacks=[lambda *_: None], no_ack=True):
            with contextlib.suppress(TimeoutError):
                connection.drain_events(timeout=0.1)
            Producer(connection, exchange=exchange).publish({}, routing_key="worker.online")
            connection.drain_events(timeout=5)
        back = queue.get(timeout=5)
        assert back.delivery_info["redelivered"]
        back.ack()


def test_a_database_the_server_does_not_have_is_said(
    open_at: Open, server: ConfiguredRedis
) -> None:
    with pytest.raises(BrokerError, match=r"/99: the server has no database of this number"):
        open_at(f"redis://127.0.0.1:{server.port}/99")


# --- modes --------------------------------------------------------------------------------------


@pytest.fixture
def cluster() -> Iterator[ConfiguredRedis]:
    yield from redis_servers.cluster_node()


def test_a_cluster_is_refused_with_the_way_out(open_at: Open, cluster: ConfiguredRedis) -> None:
    with pytest.raises(BrokerError, match=r"is a node of a Redis Cluster.*without cluster"):
        open_at(cluster.url)


def test_protected_mode_is_explained(open_at: Open) -> None:
    """It shows to whoever comes from another address than the host's own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent: this chooses the way out
        except OSError:
            pytest.skip("this host has no address but 127.0.0.1")
        address = probe.getsockname()[0]
    server = ConfiguredRedis({"bind": f"127.0.0.1 {address}", "protected-mode": "yes"})
    try:
        server.start()
        with pytest.raises(BrokerError, match=r"is in protected mode.*requirepass") as caught:
            open_at(f"redis://{address}:{server.port}/0")
        assert "\n" not in str(caught.value)
    finally:
        server.stop()


def test_a_server_that_still_loads_asks_for_patience(open_at: Open) -> None:
    server = ConfiguredRedis({"loading-process-events-interval-bytes": 1024})
    try:
        server.start()
        server.ask("EVAL", "for i = 1, 3000 do redis.call('SET', i, string.rep('x', 99)) end", 0)
        server.ask("SAVE")
        server.kill()
        server.settings["key-load-delay"] = 1000  # microseconds a key
        (server.folder / "server.conf").unlink()
        server.start(wait=False)

        def refusal() -> str:
            try:
                open_at(server.url)
            except BrokerConnectionError as exc:
                return str(exc)
            return "open"

        eventually(lambda: "is still loading its data: try again" in refusal(), within=20)
    finally:
        server.kill()
        server.stop()


def test_a_server_that_drops_keys_is_warned_of_once(
    open_at: Open, server: ConfiguredRedis, caplog: pytest.LogCaptureFixture
) -> None:
    server.ask("CONFIG", "SET", "maxmemory", "1gb", "maxmemory-policy", "allkeys-lru")

    for _ in range(2):
        open_at(server.url, owner="one")
    open_at(server.url)

    server.ask("CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction")
    (warning,) = caplog.messages
    assert "its maxmemory-policy is allkeys-lru: it drops queues" in warning
    assert "maxmemory-policy noeviction" in warning


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        (("min-replicas-to-write", "1"), "too few replicas follow it"),
        (("maxmemory", "1mb"), "is out of memory and stored nothing"),
    ],
)
def test_why_a_server_takes_no_writes_is_said(
    open_at: Open, server: ConfiguredRedis, setting: tuple[str, str], reason: str
) -> None:
    broker = open_at(server.url)
    server.ask("CONFIG", "SET", *setting)

    try:
        with pytest.raises(BrokerError, match=reason):
            broker.publish([publication("a")])
    finally:
        server.ask("CONFIG", "SET", setting[0], "0")


def test_a_server_that_is_too_old_is_refused(open_at: Open) -> None:
    """No package has a Redis before 6.2 any more: this answers as one did."""
    info = b"# Server\r\nredis_version:6.0.16\r\nredis_mode:standalone\r\nrole:master\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            line, _ = listener.accept()
            with line:
                while asked := line.recv(4096):
                    for _ in range(asked.count(b"*")):
                        told = b"$%d\r\n%b\r\n" % (len(info), info)
                        line.sendall(told if b"INFO" in asked else b"+OK\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(BrokerError, match=r"runs Redis 6\.0\.16: 6\.2 or newer is needed"):
            open_at(f"redis://127.0.0.1:{listener.getsockname()[1]}/0")
        thread.join(timeout=10)


def test_the_version_names_the_product() -> None:
    told = {"redis_version": "7.2.4", "valkey_version": "9.1.2"}

    assert redis_greeting.version(told) == "9.1.2 (Valkey)"
    assert redis_greeting.version({"redis_version": "7.0.15"}) == "7.0.15"
    assert redis_greeting.version({}) == ""
