"""The Redis backend where operators keep it: TLS, Sentinel, users, and every setting of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from taskctl import App
from taskctl.core.backends import open_backend
from taskctl.core.backends.base import Backend
from taskctl.core.backends.redis import RedisBackend
from taskctl.core.errors import BackendError, EncodeError, ImproperlyConfigured

from ..support.certificates import Authority
from ..support.redis_servers import ConfiguredRedis, Sentinels, TlsRedis
from ..support.servers import RedisServer
from ..support.waiting import eventually
from .contract import meta, within


def app_with(url: str, **settings: Any) -> App:
    return App("proj", broker="memory://", backend=url, set_as_current=False, **settings)


class CountedCredentials(redis.CredentialProvider):
    """Hands out who may read and write results."""

    def get_credentials(self) -> tuple[str, str]:
        return "results", "s3cret"


# --- TLS -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def tls(authority: Authority) -> Iterator[TlsRedis]:
    server = TlsRedis(authority, required=True)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _stores_and_hears(backend: Backend) -> None:
    backend.store([meta("a", result=5)])

    assert backend.wait(["a"], within(10)) == {"a": meta("a", result=5).meta}
    backend.close()


def test_results_are_kept_over_tls_with_a_certificate_on_both_sides(
    tls: TlsRedis, authority: Authority
) -> None:
    ours = authority.issue("client")
    app = app_with(
        tls.tls_url.replace("rediss://", "redis://"),
        redis_backend_use_ssl={
            "ssl_cert_reqs": "CERT_REQUIRED",
            "ssl_ca_certs": str(authority.certificate),
            "ssl_certfile": str(ours.certificate),
            "ssl_keyfile": str(ours.key),
        },
    )

    _stores_and_hears(app.backend)
    app.close()


def test_the_certificate_may_stand_in_the_url(tls: TlsRedis, authority: Authority) -> None:
    ours = authority.issue("in-the-url")

    _stores_and_hears(
        open_backend(
            f"{tls.tls_url}?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={authority.certificate}"
            f"&ssl_certfile={ours.certificate}&ssl_keyfile={ours.key}"
        )
    )


def test_a_server_with_a_strange_certificate_is_refused(tls: TlsRedis, tmp_path: Path) -> None:
    stranger = Authority(tmp_path)
    backend = open_backend(tls.tls_url, options={"ssl_ca_certs": str(stranger.certificate)})

    with pytest.raises(BackendError, match=r"(?i)certificate verify failed"):
        backend.open()


def test_a_wrong_word_for_the_check_of_certificates_is_named() -> None:
    with pytest.raises(ImproperlyConfigured, match="none, optional or required, got 'CERT_MAYBE'"):
        open_backend("rediss://localhost", options={"ssl_cert_reqs": "CERT_MAYBE"})


# --- Sentinel --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sentinels() -> Iterator[Sentinels]:
    servers = Sentinels(password="watch", master_password="s3cret")
    try:
        yield servers.start()
    finally:
        servers.stop()


def test_results_follow_the_master_that_sentinels_name(sentinels: Sentinels) -> None:
    app = app_with(
        sentinels.url,
        result_backend_transport_options={
            "master_name": Sentinels.NAME,
            "sentinel_kwargs": {"password": "watch"},
            "min_other_sentinels": 1,
        },
    )
    backend = app.backend
    backend.store([meta("before")])
    backend.wait(["before", "after"], within(10))

    sentinels.fail_over()

    assert set(backend.wait(["before"], within(30))) == {"before"}
    eventually(lambda: _stored(backend, "after"), within=30)
    assert set(backend.wait(["after"], within(30))) == {"after"}
    app.close()


def _stored(backend: Backend, task_id: str) -> bool:
    try:
        backend.store([meta(task_id)])
    except BackendError:
        return False
    return True


def test_sentinels_need_the_name_of_the_master() -> None:
    with pytest.raises(ImproperlyConfigured, match="set master_name"):
        open_backend("sentinel://localhost:26379/0")


def test_sentinels_that_are_all_away_are_named_without_their_passwords() -> None:
    backend = open_backend(
        "sentinel://:hunter2@127.0.0.1:1/0;sentinel://127.0.0.1:2/0",
        options={"master_name": "mymaster"},
    )

    with pytest.raises(BackendError, match="No master found for 'mymaster'") as caught:
        backend.open()

    assert "hunter2" not in str(caught.value)


# --- users, sockets ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded() -> Iterator[ConfiguredRedis]:
    server = ConfiguredRedis(
        {
            "user": [
                "default off",
                "results on >s3cret ~celery-task* &celery-task* +@all",
            ],
            "unixsocket": "redis.sock",
        },
        user=("results", "s3cret"),
    )
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.mark.parametrize(
    "settings",
    [
        {"redis_username": "results", "redis_password": "s3cret"},
        {"redis_backend_credential_provider": CountedCredentials},
        {"redis_backend_credential_provider": f"{__name__}:CountedCredentials"},
    ],
)
def test_a_user_with_rights_to_results_alone_is_enough(
    guarded: ConfiguredRedis, settings: dict[str, Any]
) -> None:
    app = app_with(f"redis://127.0.0.1:{guarded.port}/0", **settings)

    _stores_and_hears(app.backend)
    app.close()


def test_a_user_logs_in_over_a_unix_socket_too(guarded: ConfiguredRedis) -> None:
    path = guarded.folder / "redis.sock"

    _stores_and_hears(open_backend(f"redis+socket://results:s3cret@{path}?virtual_host=1"))


def test_a_provider_that_provides_nothing_is_a_matter_of_configuration() -> None:
    app = app_with("redis://localhost", redis_backend_credential_provider=object)

    with pytest.raises(ImproperlyConfigured, match="it has no get_credentials"):
        _ = app.backend


# --- settings --------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[RedisServer]:
    server = RedisServer().start()
    yield server
    server.stop()


def test_connections_bear_the_name_of_the_setting(redis_url: str) -> None:
    app = app_with(redis_url, redis_client_name="shop-results")
    app.backend.load(["a"])

    with redis.Redis.from_url(redis_url) as client:
        assert "shop-results" in {line["name"] for line in client.client_list()}
    app.close()


@pytest.mark.parametrize(("again", "least", "most"), [(False, 0.3, 2.5), (True, 0.6, 5.0)])
def test_an_answer_is_awaited_for_the_socket_timeout_once_or_twice(
    server: RedisServer, again: bool, least: float, most: float
) -> None:
    app = app_with(server.url, redis_socket_timeout=0.3, redis_retry_on_timeout=again)
    backend = app.backend
    server.pause()
    began = time.monotonic()

    with pytest.raises(BackendError, match=r"(?i)no answer in time|timed? ?out"):
        backend.load(["a"])

    assert least <= time.monotonic() - began < most
    server.resume()
    app.close()


def test_no_more_connections_are_made_than_the_setting_allows(redis_url: str) -> None:
    app = app_with(redis_url, redis_max_connections=3, redis_client_name="counted")
    backend = app.backend
    found = []

    def work(number: int) -> None:
        found.append(backend.wait([f"id-{number}"], within(20)))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    with redis.Redis.from_url(redis_url) as client:
        eventually(lambda: len(_named(client, "counted")) == 3)
        backend.store([meta(f"id-{n}") for n in range(8)])
        for thread in threads:
            thread.join(20)

        assert sorted(next(iter(one)) for one in found) == [f"id-{n}" for n in range(8)]
        assert len(_named(client, "counted")) <= 3
    app.close()


def _named(client: redis.Redis, name: str) -> list[Any]:
    return [line for line in client.client_list() if line["name"] == name]


def test_one_connection_will_do(redis_url: str) -> None:
    app = app_with(redis_url, redis_max_connections=1)
    backend = app.backend
    backend.store([meta("a")])

    assert set(backend.wait(["a"], within(10))) == {"a"}
    app.close()


def test_an_idle_connection_is_checked_after_its_interval(redis_url: str) -> None:
    app = app_with(redis_url, redis_backend_health_check_interval=0.05)
    backend = app.backend
    with redis.Redis.from_url(redis_url) as client:
        before = client.info("commandstats")["cmdstat_ping"]["calls"]
        backend.load(["a"])

        def checked() -> bool:
            backend.load(["a"])
            return client.info("commandstats")["cmdstat_ping"]["calls"] > before

        eventually(checked, every=0.2)
    app.close()


def test_an_option_that_nobody_knows_is_refused_with_the_nearest() -> None:
    with pytest.raises(ImproperlyConfigured, match="did you mean global_keyprefix"):
        open_backend("redis://localhost", options={"global_key_prefix": "x"})


def test_a_result_that_is_too_large_for_redis_is_refused_and_named(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert RedisBackend.max_bytes == 512 * 1024 * 1024
    monkeypatch.setattr(RedisBackend, "max_bytes", 1000)
    app = app_with(redis_url)

    @app.task(shared=False)
    def long() -> str:
        return "x" * 2000

    with pytest.raises(BackendError, match=r"task a takes 1.* bytes, and Redis keeps at most 1000"):
        app.backend.store([meta("a", result="x" * 1000)])
    with pytest.raises(EncodeError, match="the result backend at most 1000"):
        long.update_state("b", "PROGRESS", "x" * 1000)
    app.close()
