"""Results in MongoDB: the contract, in Celery's documents.

Not against MongoDB itself, which no registry has that tests may install from: the server here is
SecantusDB, which speaks MongoDB's protocol over its storage engine (WiredTiger) and is another
program.  What it does otherwise than MongoDB, these tests cannot see.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pymongo
import pytest

from taskctl.core.backends import open_backend
from taskctl.core.backends.base import Backend
from taskctl.core.errors import BackendError, DecodeError, ImproperlyConfigured
from taskctl.core.wire import codecs
from taskctl.core.wire.result_meta import decode_meta

from ..support.databases import MongoStandIn
from ..support.waiting import eventually
from .contract import DONE, OpenBackend, SharedBackendContract, fresh, meta, saved, within


class TestMongoBackendOnAStandInForMongodb(SharedBackendContract):
    keeps_compression = False  # documents hold the fields
    keeps_lifetime = False  # they have none for it

    @pytest.fixture
    def url(self, mongo_url: str) -> str:
        return mongo_url

    @pytest.fixture
    def database(self, mongo_url: str) -> Iterator[Any]:
        with pymongo.MongoClient(mongo_url) as client:
            yield client.get_default_database()

    def test_closing_leaves_no_descriptor_behind(self, open: OpenBackend) -> None:
        """The driver's own threads close theirs a moment later."""
        before = len(os.listdir("/proc/self/fd"))
        backend = open()
        backend.store([meta("a")])

        backend.close()

        eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)

    def test_a_document_holds_what_celery_would_write(
        self, backend: Backend, database: Any
    ) -> None:
        backend.store([meta("a", result={"sum": 5}, group_id="g", parent_id="p")])
        backend.store([meta("b", "STARTED", {"pid": 1})])
        backend.store_group("g", saved("g", "a", "b"))

        assert database.celery_taskmeta.find_one({"_id": "a"}) == {
            "_id": "a",
            "status": "SUCCESS",
            "result": '{"sum": 5}',
            "traceback": None,
            "children": [],
            "date_done": DONE.replace(tzinfo=None),
            "group_id": "g",
            "parent_id": "p",
        }
        assert database.celery_taskmeta.find_one({"_id": "b"})["date_done"] is None
        group = database.celery_groupmeta.find_one({"_id": "g"})
        assert (group["result"], isinstance(group["date_done"], datetime)) == ('["a", "b"]', True)
        assert "date_done_1" in database.celery_taskmeta.index_information()

    def test_arguments_and_stamps_are_fields(self, backend: Backend, database: Any) -> None:
        about = {
            "name": "proj.add",
            "args": [1, 2**70],
            "kwargs": {"y": {"a.b": 2}},
            "worker": "w@h",
            "retries": 1,
            "queue": "celery",
            "stamped_headers": ["who"],
            "who": "me",
        }
        backend.store([meta("a", children=[[["c", None], None]], extended=about)])

        document = database.celery_taskmeta.find_one({"_id": "a"})
        assert (document["kwargs"], document["retries"]) == ({"y": {"a.b": 2}}, 1)
        assert document["args"] == f"[1, {2**70}]"  # BSON's numbers end at 64 bits
        assert document["children"] == [[["c", None], None]]
        found = decode_meta(backend.load(["a"])["a"])
        assert (found["who"], found["stamped_headers"]) == ("me", ["who"])

    def test_results_of_binary_serializers_and_compressed_ones_are_binary(
        self, open: OpenBackend, database: Any
    ) -> None:
        backend = open()
        backend.store([meta("a", result="x" * 500, compression="zlib")])

        kept = database.celery_taskmeta.find_one({"_id": "a"})["result"]
        assert kept.startswith(b"\x00celery-compressed\x00application/x-gzip\x00")
        assert decode_meta(backend.load(["a"])["a"])["result"] == "x" * 500

        packed = open(options={"result_serializer": "msgpack"})
        packed.store([meta("b", result=b"\xff", serializer="msgpack")])
        assert isinstance(database.celery_taskmeta.find_one({"_id": "b"})["result"], bytes)
        assert decode_meta(packed.load(["b"])["b"], "msgpack")["result"] == b"\xff"

    def test_a_group_of_groups_comes_back_whole(self, backend: Backend) -> None:
        inner = [["inner", None], [[["b", None], None]]]
        value = {"result": [["g", [["p", None], None]], [[["a", None], None], inner]]}
        data = codecs.encode(value, "json")[2]

        backend.store_group("g", data)

        assert backend.load_group("g") == data

    def test_expire_drops_old_documents_and_says_how_many(self, open: OpenBackend) -> None:
        backend = open(expires=0.05, failure_expires=1000)
        backend.store([fresh(f"id-{n}") for n in range(5)])
        backend.store([fresh("failed", "FAILURE"), meta("running", "STARTED")])
        backend.store_group("g", saved("g"))
        eventually(lambda: backend.load_group("g") is None, within=5)

        assert backend.expire() == 6

        assert set(backend.load(["id-0", "failed", "running"])) == {"failed", "running"}

    def test_a_result_too_large_becomes_a_failure_that_says_so(self, backend: Backend) -> None:
        backend.store([meta("a", result="x" * 17_000_000), meta("b")])

        stored = decode_meta(backend.load(["a"])["a"])
        assert (stored["status"], "may have (16 MiB)" in str(stored["result"])) == ("FAILURE", True)
        assert "b" in backend.load(["b"])

    def test_a_document_that_is_no_result_is_refused_by_who_reads_it(
        self, backend: Backend, database: Any
    ) -> None:
        database.celery_taskmeta.insert_one({"_id": "a", "status": "SUCCESS", "result": "{nope"})
        database.celery_taskmeta.insert_one({"_id": "b", "result": "1"})

        for task_id in "ab":
            with pytest.raises(DecodeError, match="stored result has no status"):
                decode_meta(backend.load([task_id])[task_id])

    def test_two_writers_never_undo_a_success(self, open: OpenBackend) -> None:
        def work(number: int) -> None:
            backend = open()
            for n in range(30):
                backend.store([meta("a", "RETRY", n)])
                if n == 10 + number:
                    backend.store([meta("a", result=number)])

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(work, range(3)))

        assert b"SUCCESS" in open().load(["a"])["a"]

    def test_settings_say_where_the_documents_are(
        self, open: OpenBackend, mongo_server: MongoStandIn, database: Any
    ) -> None:
        backend = open_backend(
            "mongodb://",
            options={
                "mongodb_backend_settings": {
                    "host": "127.0.0.1",
                    "port": mongo_server.port,
                    "database": database.name,
                    "taskmeta_collection": "my_tasks",
                    "options": {"appname": "tests"},
                }
            },
        )
        backend.store([meta("a")])
        backend.close()

        assert database.my_tasks.count_documents({"_id": "a"}) == 1


class TestLost:
    @pytest.fixture
    def server(self) -> Iterator[MongoStandIn]:
        server = MongoStandIn().start()
        yield server
        server.stop()

    def test_a_wait_outlives_a_restart_and_a_store_says_that_it_failed(
        self, server: MongoStandIn
    ) -> None:
        quick = {"mongodb_backend_settings": {"serverSelectionTimeoutMS": 300}}
        backend = open_backend(server.url, options=quick)
        backend.store([meta("a", "STARTED")])
        known = backend.load(["a"])
        with ThreadPoolExecutor(1) as pool:
            wait = pool.submit(backend.wait, ["a"], within(60), known)
            server.halt()
            with pytest.raises(BackendError, match=f"127.0.0.1:{server.port}"):
                backend.store([meta("a")])
            assert not wait.done()
            server.start()
            eventually(lambda: _stored(backend), within=30)

            assert wait.result(timeout=60) == {"a": meta("a").meta}
        backend.close()


def _stored(backend: Backend) -> bool:
    try:
        backend.store([meta("a")])
    except BackendError:
        return False
    return True


class TestBadSettings:
    def test_an_unreachable_server_is_named_and_its_password_is_not(self) -> None:
        url = "mongodb://user:hunter2@127.0.0.1:1/?serverSelectionTimeoutMS=200"
        started = time.monotonic()

        with pytest.raises(BackendError, match=r"127\.0\.0\.1:1") as caught:
            open_backend(url).open()

        assert "hunter2" not in str(caught.value)
        assert time.monotonic() - started < 5

    def test_a_wrong_password_is_an_error(self, mongo_url: str) -> None:
        url = mongo_url.replace("mongodb://", "mongodb://nobody:hunter2@")
        started = time.monotonic()

        with pytest.raises(BackendError, match=r"[Aa]uthentication failed") as caught:
            open_backend(url).wait(["a"], within(20))

        assert "hunter2" not in str(caught.value)
        assert time.monotonic() - started < 10

    @pytest.mark.parametrize(
        "url", ["mongodb://host:port/", "mongodb://u:p@ss/w@host/", "mongodb://h/?colour=red&x"]
    )
    def test_what_is_no_url_is_refused(self, url: str) -> None:
        with pytest.raises(ImproperlyConfigured, match="result backend mongodb"):
            open_backend(url)

    def test_an_unknown_option_is_named(self) -> None:
        options = {"mongodb_backend_settings": {"colour": "red"}}
        with pytest.raises(ImproperlyConfigured, match="colour"):
            open_backend("mongodb://127.0.0.1:1/", options=options).open()
