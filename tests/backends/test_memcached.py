"""Results in memcached: the contract, under Celery's keys, with one server and with several."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from pymemcache.client.base import Client
from pymemcache.client.hash import HashClient

from taskctl.core.backends import open_backend
from taskctl.core.backends.base import Backend
from taskctl.core.errors import BackendError, ImproperlyConfigured
from taskctl.core.wire.result_meta import decode_meta

from ..support.databases import MemcachedServer
from ..support.waiting import eventually
from .contract import OpenBackend, SharedBackendContract, meta, saved, within
from .contract_chords import ChordContract


class TestMemcachedBackend(ChordContract, SharedBackendContract):
    @pytest.fixture
    def url(self, memcached_url: str) -> str:
        return memcached_url

    @pytest.fixture
    def client(self, memcached_server: MemcachedServer) -> Iterator[Client]:
        with closing(Client(("127.0.0.1", memcached_server.port))) as client:
            yield client

    def test_ids_are_found_by_how_they_begin(self, backend: Backend) -> None:
        """memcached cannot look at its keys: nothing is found."""
        backend.store([meta("abc1")])

        assert backend.find("abc") == []

    def test_metas_and_groups_are_under_celerys_keys(
        self, backend: Backend, client: Client
    ) -> None:
        backend.store([meta("a", result=5)])
        backend.store_group("g", saved("g", "a"))

        assert json.loads(client.get("celery-task-meta-a"))["result"] == 5
        assert client.get("celery-taskset-meta-g") == saved("g", "a")

    def test_a_global_prefix_stands_before_every_key(
        self, open: OpenBackend, client: Client
    ) -> None:
        open(options={"global_keyprefix": "proj"}).store([meta("a")])

        assert client.get("proj_celery-task-meta-a")

    def test_a_lifetime_of_more_than_thirty_days_is_no_point_in_time(
        self, open: OpenBackend
    ) -> None:
        backend = open(expires=40 * 86400.0)
        backend.store([meta("a")])

        assert set(backend.load(["a"])) == {"a"}

    def test_two_writers_never_undo_a_success(self, open: OpenBackend) -> None:
        """Each write is one compare-and-swap: whoever comes second looks again."""
        start = threading.Barrier(4)

        def work(number: int) -> None:
            backend = open()
            start.wait()
            for n in range(60):
                backend.store([meta("a", "RETRY", n)])
                if n == 20 + number:
                    backend.store([meta("a", result=number)])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))

        assert b"SUCCESS" in open().load(["a"])["a"]


class TestServers:
    @pytest.fixture
    def server(self) -> Iterator[MemcachedServer]:
        server = MemcachedServer(largest="1m").start()
        yield server
        server.stop()

    def test_a_result_too_large_becomes_a_failure_that_says_so(
        self, server: MemcachedServer
    ) -> None:
        backend = open_backend(server.url)
        large = meta("a", result="x" * 2_000_000)

        backend.store([large, meta("b")])

        stored = decode_meta(backend.load(["a"])["a"])
        assert stored["status"] == "FAILURE"
        assert str(stored["result"]) == (
            f"the result cannot be stored: {len(large.meta)} bytes are more than memcached server"
            f" 127.0.0.1:{server.port} takes for one value (1 MiB unless it was started with -I)"
        )
        assert b"SUCCESS" in backend.load(["b"])["b"]
        backend.close()

    def test_a_server_that_comes_back_is_used_again(self, server: MemcachedServer) -> None:
        backend = open_backend(server.url)
        backend.store([meta("a")])
        server.halt()
        with pytest.raises(BackendError, match=f"127.0.0.1:{server.port}: Connection refused"):
            backend.store([meta("a")])
        server.start()

        backend.store([meta("b")])

        assert set(backend.load(["a", "b"])) == {"b"}
        backend.close()

    def test_a_wait_outlives_a_restart_of_the_server(self, server: MemcachedServer) -> None:
        backend = open_backend(server.url)
        with ThreadPoolExecutor(1) as pool:
            wait = pool.submit(backend.wait, ["a"], within(30))
            server.halt()
            server.start()
            backend.store([meta("a")])

            assert set(wait.result(timeout=30)) == {"a"}
        backend.close()

    def test_a_wait_for_a_lost_server_ends_at_its_deadline(self, server: MemcachedServer) -> None:
        backend = open_backend(server.url)
        server.halt()
        started = time.monotonic()

        with pytest.raises(BackendError, match="Connection refused"):
            backend.wait(["a"], within(0.3))

        assert time.monotonic() - started < 5

    def test_several_servers_share_the_keys_as_celery_shares_them(
        self, server: MemcachedServer, memcached_server: MemcachedServer
    ) -> None:
        names = [f"127.0.0.1:{s.port}" for s in (server, memcached_server)]
        backend = open_backend(f"cache+memcached://{';'.join(names)}/")
        theirs = HashClient(names)
        ids = [f"id-{n}" for n in range(50)]

        backend.store([meta(id) for id in ids])

        assert set(backend.load(ids)) == set(ids)
        for id in ids:
            assert theirs.get(f"celery-task-meta-{id}") == meta(id).meta
        with closing(Client(names[0])) as one:
            assert 0 < len(one.get_many([f"celery-task-meta-{id}" for id in ids])) < 50
        server.halt()
        with pytest.raises(BackendError, match="refused"):
            backend.load(ids)
        backend.close()
        theirs.close()

    def test_a_server_that_hangs_is_an_error_after_its_timeout(
        self, server: MemcachedServer
    ) -> None:
        backend = open_backend(server.url, options={"cache_backend_options": {"timeout": 0.2}})
        backend.store([meta("a")])
        server.pause()

        with pytest.raises(BackendError, match="no answer in time"):
            backend.load(["a"])

        server.resume()
        eventually(lambda: backend.load(["a"]))
        backend.close()


class TestBadSettings:
    def test_a_url_without_a_server_is_refused(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="names no server"):
            open_backend("cache+memcached://")

    def test_a_port_that_is_no_number_is_refused(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="'host:port' is no host:port"):
            open_backend("memcached://host:port/")

    def test_an_unknown_option_is_refused_by_name(self) -> None:
        options = {"cache_backend_options": {"time_out": 1}}
        with pytest.raises(ImproperlyConfigured, match="unknown 'time_out': choose connect_time"):
            open_backend("memcached://host/", options=options)

    def test_a_server_that_speaks_otherwise_is_an_error(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]

            def answer() -> None:
                line, _ = listener.accept()
                line.recv(100)
                line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                line.close()

            thread = threading.Thread(target=answer)
            thread.start()
            with pytest.raises(BackendError, match=f"127.0.0.1:{port}"):
                open_backend(f"memcached://127.0.0.1:{port}").open()
            thread.join()
