"""Fixtures that make farms of real workers; a conftest imports those its room needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis

from .servers import RedisServer
from .workers import Farm

MakeFarm = Callable[..., Farm]


@pytest.fixture
def make_farm() -> Iterator[MakeFarm]:
    """Makes farms: make_farm(folder, url, **settings); no process outlives the test."""
    farms: list[Farm] = []

    def make(folder: Path, url: str, **settings: Any) -> Farm:
        farms.append(Farm(folder, url, **settings))
        return farms[-1]

    yield make
    for farm in farms:
        farm.close()


@pytest.fixture(params=["sqlite", "redis"])
def broker_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty broker of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/queue.db"
    return str(request.getfixturevalue("redis_url"))


@pytest.fixture
def farm(make_farm: MakeFarm, broker_url: str, tmp_path: Path) -> Farm:
    """A farm with the default settings."""
    return make_farm(tmp_path, broker_url)


@pytest.fixture
def brisk(make_farm: MakeFarm, redis_url: str, tmp_path: Path) -> list[Farm]:
    """One farm on each broker, whose leases end soon; see `on_each`."""
    settings = {"worker_lease": 1.2, "worker_lease_interval": 0.4}
    # What Celery would take for lost comes back under a living lease as little.
    sweep = {"broker_transport_options": {"visibility_timeout": 1}}
    return [
        make_farm(tmp_path / "sqlite", f"sqlite:///{tmp_path}/queue.db", **settings),
        make_farm(tmp_path / "redis", redis_url, **settings, **sweep),
    ]


def on_each(farms: list[Farm], scene: Callable[[Farm], None]) -> None:
    """Play a scene that waits for leases on all farms at once."""
    with ThreadPoolExecutor(len(farms)) as pool:
        list(pool.map(scene, farms))


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def standing_farm(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    redis_server: RedisServer,
) -> Iterator[Farm]:
    folder = tmp_path_factory.mktemp("standing")
    url = f"sqlite:///{folder}/queue.db"
    if request.param == "redis":
        # A database that the round of `redis_url` reaches last.
        url = redis_server.url.removesuffix("/0") + "/61"
        with redis.Redis.from_url(url) as client:
            client.flushdb()
    farm = Farm(folder, url)
    farm.start().ready()
    yield farm
    farm.close()


@pytest.fixture
def service(standing_farm: Farm) -> Farm:
    """A farm with one node, w1, that the tests of a module share; nothing of others is seen."""
    standing_farm.forget()
    return standing_farm
