"""Farms of real workers on each broker; none outlives its test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..support.workers import Farm

MakeFarm = Callable[..., Farm]


@pytest.fixture
def make_farm() -> Iterator[MakeFarm]:
    """Makes farms: make_farm(folder, url, **settings)."""
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
def brisk(make_farm: MakeFarm, broker_url: str, tmp_path: Path) -> Farm:
    """A farm whose leases end soon."""
    return make_farm(tmp_path, broker_url, worker_lease=2.0, worker_lease_interval=0.5)
