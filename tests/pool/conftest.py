"""Pools for these tests: opened, closed, and nobody left behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from taskctl.core.pool import open_pool

from ..support.waiting import eventually
from .serving import Driver, boot


@pytest.fixture
def drive() -> Iterator[Callable[..., Driver]]:
    """Open a pool by name and hand back its driver; all are closed in the end."""
    before = set(psutil.Process().children(recursive=True))
    drivers: list[Driver] = []

    def open_one(name: str, size: int = 2, boot: Any = boot, **options: Any) -> Driver:
        driver = Driver(open_pool(name, size, boot, **options))
        drivers.append(driver)
        return driver

    yield open_one
    for driver in drivers:
        driver.pool.close(time.monotonic() + 2)
    eventually(lambda: not set(psutil.Process().children(recursive=True)) - before, within=5)
