"""The interop matrix of result backends: a taskctl worker writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from .matrix.backends import BACKENDS, row_of, run_chord, run_row
from .matrix.cells import LIBRARIES, Station


@pytest.fixture(scope="module", params=BACKENDS)
def standing(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Station]]:
    yield from row_of(request, "taskctl", tmp_path_factory.mktemp("results"))


@pytest.mark.parametrize("client", LIBRARIES)
def test_cell(
    standing: tuple[str, Station], client: str, record_property: Callable[[str, object], None]
) -> None:
    run_row(standing, client, record_property)


@pytest.mark.parametrize("client", LIBRARIES)
def test_chord(
    standing: tuple[str, Station], client: str, record_property: Callable[[str, object], None]
) -> None:
    run_chord(standing, client, record_property)
