"""The rows of the result backends: who writes, who reads, and where it lies meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ...support import djangosite
from .api import Api
from .cases import VALUES, Case
from .cells import LIBRARIES, Station, run_cell, settings_for

#: Row -> (fixture of the server it needs, what its settings are made of).
BACKENDS: dict[str, tuple[str | None, Callable[[Any, Path, str], dict[str, Any]]]] = {
    "redis": (None, lambda server, folder, redis: {}),
    "redis, result_extended": (None, lambda server, folder, redis: {"result_extended": True}),
    "redis, result_compression": (
        None,
        lambda server, folder, redis: {"result_compression": "gzip"},
    ),
    "redis, result_serializer pickle": (
        None,
        lambda server, folder, redis: {"result_serializer": "pickle"},
    ),
    "redis, global_keyprefix": (
        None,
        lambda server, folder, redis: {
            "result_backend_transport_options": {"global_keyprefix": "team"}
        },
    ),
    "rpc": (None, lambda server, folder, redis: {"result_backend": "rpc://"}),
    "rpc on RabbitMQ": (None, lambda server, folder, redis: {"result_backend": "rpc://"}),
    "db+sqlite": (
        None,
        lambda server, folder, redis: {"result_backend": f"db+sqlite:///{folder}/results.db"},
    ),
    "db+postgresql": (
        "postgres_server",
        lambda server, folder, redis: {"result_backend": f"db+{server.url}"},
    ),
    "memcached": ("memcached_server", lambda server, folder, redis: {"result_backend": server.url}),
    "filesystem": (None, lambda server, folder, redis: {"result_backend": f"file://{folder}"}),
    # Without result_extended, django-celery-results itself leaves the traceback out.
    "django-db, result_extended": (
        "memcached_server",
        lambda server, folder, redis: {"result_backend": "django-db", "result_extended": True},
    ),
    "django-cache": (
        "memcached_server",
        lambda server, folder, redis: {
            "result_backend": "django-cache",
            "cache_backend": "results",
        },
    ),
    "mongodb": ("mongo_server", lambda server, folder, redis: {"result_backend": server.url}),
}


def stored(api: Api) -> None:
    """Every kind of result, and what is read of it."""
    assert api.get(api.echo.delay(VALUES[4], k=[1, None]))[0] == [VALUES[4]]
    failed = api.custom.delay()
    assert api.error(failed) == "CustomError('own', 1)"
    assert "CustomError" in failed.traceback
    group = api.group(api.add.s(each, each) for each in range(4))()
    assert api.get(group) == [0, 2, 4, 6]
    last = api.chain(api.add.s(1, 1), api.add.s(3))()
    assert (api.get(last), api.get(last.parent)) == (5, 2)
    spawned = api.spawn.delay(2)
    assert api.get(spawned) == 2


def joined(api: Api) -> None:
    """A chord, by counters of the backend or by looking again and again."""
    sent = api.chord([api.add.s(each, each) for each in range(3)], api.total.s())()
    assert api.get(sent) == 6


def row_of(
    request: pytest.FixtureRequest, worker: str, folder: Path
) -> Iterator[tuple[str, Station]]:
    """Run a worker whose results lie in the backend of `request.param`."""
    row: str = request.param
    needs, settings = BACKENDS[row]
    server = request.getfixturevalue(needs) if needs else None
    broker = "rabbitmq" if row.endswith("on RabbitMQ") else "redis"
    base = settings_for(broker, request, 73 + LIBRARIES.index(worker))
    given = {**base, **settings(server, folder, base["result_backend"])}
    site = djangosite.set_up(server.port) if row.startswith("django") else {}
    station = Station(worker, broker, folder, given, environment=site)
    try:
        station.start("main", "-P", "solo", "-Q", "celery")
        yield row, station
    finally:
        station.close()


def run_row(
    standing: tuple[str, Station], client: str, record: Callable[[str, object], None]
) -> None:
    row, station = standing
    run_cell(station, client, Case(row, stored), record, "Results")


def run_chord(
    standing: tuple[str, Station], client: str, record: Callable[[str, object], None]
) -> None:
    row, station = standing
    if row.startswith("rpc"):
        record("cell", [f"{row}: chord", client, station.worker, station.broker, "Results"])
        pytest.skip("rpc joins no chords, in Celery either")
    run_cell(station, client, Case(f"{row}: chord", joined), record, "Results")
