"""A fleet on RabbitMQ goes over to taskctl and back under load, and loses nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .matrix.cells import Station
from .matrix.migration import fleet_on, run


@pytest.fixture
def fleet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Station]:
    yield from fleet_on("rabbitmq", request, tmp_path_factory.mktemp("migration"))


def test_a_fleet_goes_over_and_back_node_by_node(fleet: Station) -> None:
    run(fleet, 1_500)


@pytest.mark.soak
def test_twenty_thousand_tasks_while_a_fleet_goes_over_and_back(fleet: Station) -> None:
    run(fleet, 20_000)
