"""The interop matrix: a Celery worker on RabbitMQ."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from .matrix.cases import Case
from .matrix.cells import Station, pytest_params, run_cell, station


@pytest.fixture(scope="module")
def standing(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Station]:
    with station("celery", "rabbitmq", request, tmp_path_factory.mktemp("matrix")) as standing:
        yield standing


@pytest.mark.parametrize(("client", "row"), pytest_params())
def test_cell(
    standing: Station,
    client: str,
    row: Case,
    record_property: Callable[[str, object], None],
) -> None:
    run_cell(standing, client, row, record_property)
