"""The Redis backend keeps the contract, in Celery's keys, and survives a lost server."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from taskctl.core.backends import open_backend
from taskctl.core.backends.base import Backend
from taskctl.core.errors import BackendError, ImproperlyConfigured

from ..support.servers import RedisServer
from ..support.waiting import eventually
from .contract import OpenBackend, SharedBackendContract, meta, within
from .contract_chords import ChordContract


class TestRedisBackend(SharedBackendContract, ChordContract):
    @pytest.fixture
    def url(self, redis_url: str) -> str:
        return redis_url

    @pytest.fixture
    def client(self, redis_url: str) -> Iterator[redis.Redis]:
        with redis.Redis.from_url(redis_url) as client:
            yield client

    def test_a_meta_is_one_string_under_celerys_key_with_its_lifetime(
        self, open: OpenBackend, client: redis.Redis
    ) -> None:
        open(failure_expires=100).store([meta("a", result=5), meta("b", "FAILURE", "x")])

        assert json.loads(client.get("celery-task-meta-a"))["result"] == 5
        assert 86390 < client.ttl("celery-task-meta-a") <= 86400
        assert 90 < client.ttl("celery-task-meta-b") <= 100

    def test_without_a_lifetime_the_key_has_none(
        self, open: OpenBackend, client: redis.Redis
    ) -> None:
        open(expires=None).store([meta("a")])

        assert client.ttl("celery-task-meta-a") == -1

    def test_a_group_is_kept_under_celerys_key(
        self, open: OpenBackend, client: redis.Redis
    ) -> None:
        open().store_group("g", b"tuple")

        assert client.get("celery-taskset-meta-g") == b"tuple"
        assert 86390 < client.ttl("celery-taskset-meta-g") <= 86400

    @pytest.mark.parametrize(
        ("given", "used"), [("proj", "proj_"), ("proj:", "proj:"), ("proj.", "proj."), ("_", "_")]
    )
    def test_a_global_prefix_stands_before_every_key(
        self, open: OpenBackend, client: redis.Redis, given: str, used: str
    ) -> None:
        backend = open(options={"global_keyprefix": given})
        backend.store([meta("a")])
        backend.store_group("g", b"tuple")

        assert set(backend.wait(["a"], within(5))) == {"a"}
        keys = {f"{used}celery-task-meta-a".encode(), f"{used}celery-taskset-meta-g".encode()}
        assert set(client.keys()) == keys

    def test_every_meta_is_announced_on_the_channel_named_like_its_key(
        self, backend: Backend, client: redis.Redis
    ) -> None:
        with client.pubsub(ignore_subscribe_messages=True) as ear:
            ear.subscribe("celery-task-meta-a")
            ear.get_message(timeout=5)
            backend.store([meta("a", "STARTED"), meta("a"), meta("a", "FAILURE")])

            heard = [ear.get_message(timeout=5)["data"] for _ in range(2)]

            assert heard == [meta("a", "STARTED").meta, meta("a").meta]
            assert ear.get_message(timeout=0.05) is None

    def test_success_written_by_another_json_writer_is_final_too(
        self, backend: Backend, client: redis.Redis
    ) -> None:
        theirs = b'{"task_id":"a","result":1,"status":"SUCCESS"}'
        client.set("celery-task-meta-a", theirs)
        client.set("celery-task-meta-b", b'{"task_id":"b","status":"STARTED"}')
        client.set("celery-task-meta-c", b"children: []\nstatus: SUCCESS\ntask_id: c\n")
        client.set("celery-task-meta-d", b"not a meta at all")

        backend.store([meta(id, "FAILURE") for id in "abcd"])

        metas = backend.load(["a", "b", "c", "d"])
        assert metas["a"] == theirs
        assert b"FAILURE" in metas["b"]
        assert b"status: SUCCESS" in metas["c"]
        assert b"FAILURE" in metas["d"]

    def test_a_batch_is_one_command(self, backend: Backend, client: redis.Redis) -> None:
        backend.store([meta("first")])
        before = client.info("commandstats")["cmdstat_evalsha"]["calls"]

        backend.store([meta(f"id-{n}") for n in range(200)])

        assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == before + 1

    def test_a_store_goes_on_after_the_scripts_were_flushed(
        self, backend: Backend, client: redis.Redis
    ) -> None:
        backend.store([meta("a")])
        client.script_flush()

        backend.store([meta("b")])

        assert set(backend.load(["a", "b"])) == {"a", "b"}

    def test_a_killed_idle_connection_is_replaced_unseen(
        self, backend: Backend, client: redis.Redis
    ) -> None:
        backend.store([meta("a")])
        client.client_kill_filter(_type="normal", skipme=True)

        assert set(backend.load(["a"])) == {"a"}

    def test_a_wait_survives_the_loss_of_its_connection(
        self, open: OpenBackend, client: redis.Redis
    ) -> None:
        waiting, storing = open(), open()
        with ThreadPoolExecutor(1) as pool:
            wait = pool.submit(waiting.wait, ["a"], within(20))
            eventually(lambda: client.pubsub_numsub("celery-task-meta-a")[0][1] == 1)
            client.client_kill_filter(_type="pubsub")
            storing.store([meta("a")])

            assert set(wait.result(timeout=20)) == {"a"}

    def test_a_thread_listens_to_what_it_waits_for_and_to_nothing_else(
        self, backend: Backend, client: redis.Redis
    ) -> None:
        backend.wait(["a", "b"], within(0.01))
        backend.wait(["b", "c"], within(0.01))
        assert {*client.pubsub_channels()} == {b"celery-task-meta-b", b"celery-task-meta-c"}

        backend.forsake(["b", "c"])

        eventually(lambda: client.pubsub_channels() == [])

    def test_the_connections_of_threads_that_ended_are_closed(
        self, backend: Backend, client: redis.Redis
    ) -> None:
        def wait() -> None:
            backend.wait(["a"], within(0.01))

        threads = [threading.Thread(target=wait) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        eventually(lambda: client.pubsub_channels() == [])


class TestLostServer:
    @pytest.fixture
    def server(self) -> Iterator[RedisServer]:
        if shutil.which("redis-server") is None:
            pytest.skip("redis-server is not installed")
        server = RedisServer().start()
        yield server
        server.stop()

    def test_a_wait_outlives_a_restart_of_the_server(self, server: RedisServer) -> None:
        backend = open_backend(server.url)
        backend.open()
        with ThreadPoolExecutor(1) as pool:
            wait = pool.submit(backend.wait, ["a"], within(30))
            with redis.Redis(port=server.port) as client:
                eventually(lambda: client.pubsub_channels() != [])
            server.stop()
            again = RedisServer(server.port).start()
            try:
                backend.store([meta("a")])

                assert set(wait.result(timeout=30)) == {"a"}
            finally:
                again.stop()
        backend.close()

    def test_a_server_that_hangs_costs_little_more_than_the_deadline(
        self, server: RedisServer
    ) -> None:
        backend = open_backend(server.url)
        backend.open()
        backend.wait(["a"], within(0.01))
        server.pause()
        started = time.monotonic()

        with pytest.raises(BackendError, match="no answer in time"):
            backend.wait(["b"], within(0.5))

        assert time.monotonic() - started < 5
        server.resume()
        backend.close()

    def test_a_wait_for_a_lost_server_ends_at_its_deadline(self, server: RedisServer) -> None:
        backend = open_backend(server.url)
        backend.open()
        server.stop()
        started = time.monotonic()

        with pytest.raises(BackendError, match="Connection refused"):
            backend.wait(["a"], within(0.5))

        assert 0.3 < time.monotonic() - started < 3
        backend.close()


class TestErrors:
    def test_an_unreachable_server_is_named_and_its_password_is_not(self) -> None:
        backend = open_backend("redis://user:hunter2@127.0.0.1:1/0")

        with pytest.raises(BackendError, match="Connection refused") as caught:
            backend.open()

        assert "127.0.0.1:1" in str(caught.value)
        assert "hunter2" not in str(caught.value)

    def test_a_wrong_password_is_an_error_at_once(self, redis_url: str) -> None:
        backend = open_backend(redis_url.replace("redis://", "redis://nobody:hunter2@"))
        started = time.monotonic()

        with pytest.raises(BackendError) as caught:
            backend.wait(["a"], within(10))

        assert "hunter2" not in str(caught.value)
        assert time.monotonic() - started < 3

    @pytest.mark.parametrize(
        "url", ["redis://:hunter2@host:port/0", "redis://:hun#ter2@host/0", "redis://h:99999999"]
    )
    def test_an_unreadable_url_is_a_matter_of_configuration(self, url: str) -> None:
        with pytest.raises(ImproperlyConfigured, match="cannot read") as caught:
            open_backend(url)

        assert "ter2" not in str(caught.value)

    def test_a_refused_command_is_a_backend_error(self, redis_url: str) -> None:
        with redis.Redis.from_url(redis_url) as client:
            client.lpush("celery-task-meta-a", "a list, not a string")
        backend = open_backend(redis_url)

        with pytest.raises(BackendError, match="WRONGTYPE"):
            backend.store([meta("a")])
        backend.close()


def test_a_unix_socket_will_do(tmp_path: Path) -> None:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    path = tmp_path / "redis.sock"
    command = ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=tmp_path)
    try:
        eventually(path.exists)
        backend = open_backend(f"redis+socket://{path}?virtual_host=3")
        backend.store([meta("a")])

        assert set(backend.wait(["a"], within(5))) == {"a"}
        with redis.Redis(unix_socket_path=str(path), db=3) as client:
            assert client.exists("celery-task-meta-a")
        backend.close()
    finally:
        process.terminate()
        process.wait(timeout=20)
