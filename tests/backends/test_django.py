"""Results in a Django project: in its database, seen by its models and admin, and in its cache."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from typing import Any

import pytest

from taskctl.core.backends import open_backend
from taskctl.core.backends.base import Backend
from taskctl.core.errors import ContentDisallowed, DecodeError, ImproperlyConfigured
from taskctl.core.wire.result_meta import decode_meta

from ..support import djangosite
from ..support.databases import MemcachedServer
from ..support.waiting import eventually
from .contract import DONE, OpenBackend, SharedBackendContract, fresh, meta, saved
from .contract_chords import LONG, ChordContract, part


def decode_group(data: bytes | None) -> list[str]:
    assert data is not None
    return [one[0][0] for one in json.loads(data)["result"][1]]


@pytest.fixture
def site(memcached_server: MemcachedServer, memcached_url: str) -> None:
    djangosite.set_up(memcached_server.port)
    djangosite.emptied()


@pytest.mark.usefixtures("site")
class TestDjangoDatabaseBackend(ChordContract, SharedBackendContract):
    keeps_compression = False  # columns hold the fields
    keeps_lifetime = False  # there is no column for it

    @pytest.fixture
    def url(self) -> str:
        return "django-db"

    def test_every_field_of_an_extended_meta_comes_back(self, backend: Backend) -> None:
        """But group and parent, for which the table has no columns, and arguments, which it holds
        as text: see the case of the models below."""

    @pytest.fixture
    def models(self, site: None) -> Any:
        from django_celery_results import models  # needs Django set up

        return models

    def test_closing_leaves_no_descriptor_behind(self, open: OpenBackend) -> None:
        """The connection is Django's; closing the backend closes this thread's."""
        open().close()
        super().test_closing_leaves_no_descriptor_behind(open)

    def test_the_packages_models_show_a_result(self, backend: Backend, models: Any) -> None:
        about = {
            "name": "proj.add",
            "args": [2, {"__type__": "decimal", "__value__": "1.5"}],
            "kwargs": {"z": 1},
            "worker": "w@h",
            "retries": 1,
            "queue": "celery",
        }
        backend.store([meta("a", "STARTED", {"pid": 1})])
        assert models.TaskResult.objects.get().date_started
        stored = meta("a", result={"sum": 5}, extended=about, children=[[["c", None], None]])
        backend.store([stored])

        row = models.TaskResult.objects.get()
        assert (row.status, row.result, row.date_done) == ("SUCCESS", '{"sum": 5}', DONE)
        assert (row.content_type, row.content_encoding) == ("application/json", "utf-8")
        assert row.meta == '{"children": [[["c", null], null]], "retries": 1, "queue": "celery"}'
        assert row.task_args == "\"(2, Decimal('1.5'))\""
        assert (row.task_name, row.task_kwargs, row.worker) == ("proj.add", "\"{'z': 1}\"", "w@h")
        assert decode_meta(backend.load(["a"])["a"])["children"] == [[["c", None], None]]

    def test_the_admin_lists_results_and_shows_one(self, backend: Backend, models: Any) -> None:
        from django.contrib.auth.models import User  # needs Django set up
        from django.test import Client

        User.objects.filter(username="admin").delete()
        client = Client()
        client.force_login(User.objects.create_superuser("admin"))
        backend.store([meta("a-task-of-ours", "FAILURE", "x", traceback="Traceback of ours")])

        listed = client.get("/admin/django_celery_results/taskresult/").content.decode()
        row = models.TaskResult.objects.get()
        shown = client.get(f"/admin/django_celery_results/taskresult/{row.pk}/change/")

        assert "a-task-of-ours" in listed and "FAILURE" in listed
        assert "Traceback of ours" in shown.content.decode()

    def test_binary_serializers_are_text_in_base64(self, open: OpenBackend, models: Any) -> None:
        backend = open(options={"result_serializer": "msgpack"})
        backend.store([meta("a", result=b"\xff", serializer="msgpack")])

        row = models.TaskResult.objects.get()
        assert (row.content_encoding, row.result) == ("binary", "xAH/")
        assert decode_meta(backend.load(["a"])["a"], "msgpack")["result"] == b"\xff"

    def test_a_pickle_is_refused_unless_pickles_are_accepted(
        self, open: OpenBackend, models: Any
    ) -> None:
        pickling = open(options={"result_serializer": "pickle"})
        pickling.store([meta("a", result={1, 2}, serializer="pickle")])

        with pytest.raises(ContentDisallowed, match="python-serialize: not in result_accept_"):
            decode_meta(open().load(["a"])["a"])

        trusting = open(options={"accept_content": ["json", "pickle"]})
        data = trusting.load(["a"])["a"]
        assert decode_meta(data, accept=["pickle"])["result"] == {1, 2}

    def test_a_row_that_cannot_be_read_is_refused_by_who_reads_it(
        self, backend: Backend, models: Any
    ) -> None:
        backend.store([meta("a")])
        for change in ({"result": "{nope"}, {"content_type": "text/x-own"}, {"meta": "[]"}):
            models.TaskResult.objects.update(**change)

            with pytest.raises(DecodeError, match="stored result has no status"):
                decode_meta(backend.load(["a"])["a"])

    def test_expire_drops_old_rows_and_says_how_many(self, open: OpenBackend) -> None:
        backend = open(expires=0.05, failure_expires=1000)
        backend.store([fresh(f"id-{n}") for n in range(5)])
        backend.store([fresh("failed", "FAILURE")])
        backend.store_group("g", saved("g"))
        eventually(lambda: backend.load_group("g") is None, within=5)

        assert backend.expire() == 6

        assert set(backend.load(["id-0", "failed"])) == {"failed"}

    def test_celerys_counter_says_what_is_left_and_goes_with_the_end(
        self, backend: Backend, models: Any
    ) -> None:
        def left() -> list[Any]:
            return list(models.ChordCounter.objects.filter(group_id="g").values_list("count"))

        backend.keep_header("g", saved("g", "a", "b", "c"))
        backend.begin_chord("g", 3)
        row = models.ChordCounter.objects.get(group_id="g")
        assert [one.id for one in row.group_result()] == ["a", "b", "c"]
        assert decode_group(backend.load_group("g")) == ["a", "b", "c"]
        backend.count_part(part("a", 0), "one", LONG)
        assert left() == [(2,)]
        models.ChordCounter.objects.filter(group_id="g").update(count=1)  # Celery counts one

        assert backend.count_part(part("c", 2), "one", LONG).owned
        assert left() == [(1,)], "should the owner die, a worker of Celery can end it"
        assert backend.end_chord("g", "one", LONG)
        assert left() == []
        assert backend.load_group("g") is None

    def test_a_chord_that_celery_has_joined_is_done(self, backend: Backend, models: Any) -> None:
        backend.keep_header("g", saved("g", "a", "b"))
        backend.count_part(part("a", 0), "one", LONG)
        models.ChordCounter.objects.filter(group_id="g").delete()  # by who counted the last part

        assert backend.count_part(part("a", 0), "one", LONG).done

    def test_groups_in_a_header_of_celerys_are_counted_by_their_members(
        self, backend: Backend, models: Any
    ) -> None:
        nested = [[["g2", None], [[["a", None], None], [["b", None], None]]], [["c", None], None]]
        models.ChordCounter.objects.create(group_id="g", sub_tasks=json.dumps(nested), count=2)

        counts = [backend.count_part(part(id, n), "one", LONG) for n, id in enumerate("abc")]

        assert [(one.counted, one.size, one.owned) for one in counts] == [
            (1, 3, False), (2, 3, False), (3, 3, True),
        ]  # fmt: skip

    def test_what_is_noted_of_a_chord_goes_when_its_time_is_over(
        self, open: OpenBackend, models: Any
    ) -> None:
        backend = open(chord_expires=60)
        backend.keep_header("g" * 200, saved("g", "a", "b"))
        backend.count_part(part("a", 0, "g" * 200), "one", LONG)
        backend.expire()
        assert models.ChordCounter.objects.count() == 3
        models.ChordCounter.objects.filter(group_id__startswith="taskctl").update(count=1)

        assert backend.expire() == 1

        assert models.ChordCounter.objects.count() == 0

    def test_the_callers_own_transaction_is_left_open(self, backend: Backend, models: Any) -> None:
        from django.db import transaction  # needs Django set up

        with pytest.raises(KeyError), transaction.atomic():
            backend.store([meta("a")])
            raise KeyError("taken back")

        assert backend.load(["a"]) == {}

    def test_an_id_that_no_row_can_have_costs_nobody_else_a_result(
        self, backend: Backend, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.ERROR):
            backend.store([meta("zero\x00"), meta("a")])

        assert set(backend.load(["a", "zero\x00"])) == {"a"}
        assert "cannot keep the result of task 'zero\\x00'" in caplog.text


@pytest.mark.usefixtures("site")
class TestDjangoCacheBackend(SharedBackendContract):
    """In a cache that is a real memcached."""

    keeps_compression = False  # the cache holds objects
    settles_races = False  # Django has no compare-and-set

    @pytest.fixture
    def url(self) -> str:
        return "django-cache"

    @pytest.fixture
    def open(self, site: None) -> Any:
        opened = []

        def open_one(**settings: Any) -> Backend:
            options = {"cache_backend": "results", **(settings.pop("options", None) or {})}
            backend = open_backend("django-cache", options=options, **settings)
            backend.open()
            opened.append(backend)
            return backend

        yield open_one
        for backend in opened:
            backend.close()

    def test_ids_are_found_by_how_they_begin(self, backend: Backend) -> None:
        """No cache can look at its keys: nothing is found."""
        backend.store([meta("abc1")])

        assert backend.find("abc") == []

    def test_a_child_stores_and_its_parent_hears(self, backend: Backend, url: str) -> None:
        """The child is another backend of the same name, whose cache must be the same."""
        backend.options = {**backend.options, "cache_backend": "results"}
        if os.fork() == 0:
            backend.store([meta("a", result="from the child")])
            os._exit(0)
        os.wait()

        assert b"from the child" in backend.load(["a"])["a"]

    def test_values_are_kept_as_objects(self, backend: Backend) -> None:
        from django.core.cache import caches  # needs Django set up

        backend.store([meta("a", result={"when": DONE})])

        assert caches["results"].get("celery-task-meta-a")["result"] == {"when": DONE}
        assert decode_meta(backend.load(["a"])["a"])["result"] == {"when": DONE}

    def test_a_value_that_is_no_result_is_refused_by_who_reads_it(self, backend: Backend) -> None:
        from django.core.cache import caches  # needs Django set up

        caches["results"].set("celery-task-meta-a", [1, 2])

        with pytest.raises(DecodeError, match="it is list, no map"):
            decode_meta(backend.load(["a"])["a"])

    def test_a_cache_that_the_project_has_not_is_refused(self, open: OpenBackend) -> None:
        with pytest.raises(ImproperlyConfigured, match="cache_backend: The connection 'nowhere'"):
            open(options={"cache_backend": "nowhere"})


@pytest.mark.parametrize("url", ["django-db", "django-cache"])
def test_without_a_django_project_it_is_said_what_is_missing(url: str) -> None:
    code = f"from taskctl.core.backends import open_backend; open_backend({url!r}).open()"
    env = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}

    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60
    )

    assert done.stderr.splitlines()[-1].endswith(
        f"result backend {url} needs a Django project: set DJANGO_SETTINGS_MODULE,"
        " or call django.setup() first"
    )


def test_a_project_without_the_package_is_told_to_install_it() -> None:
    code = (
        "from django.conf import settings; settings.configure(); import django; django.setup();"
        "from taskctl.core.backends import open_backend; open_backend('django-db').load(['a'])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert "needs 'django_celery_results' among INSTALLED_APPS" in done.stderr.splitlines()[-1]
