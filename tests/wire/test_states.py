"""The table of states agrees with Celery's."""

from __future__ import annotations

import celery.states
import pytest
from taskctl.core.wire import states


@pytest.mark.parametrize(
    "name", ["READY_STATES", "UNREADY_STATES", "EXCEPTION_STATES", "PROPAGATE_STATES"]
)
def test_the_sets_are_celerys(name: str) -> None:
    assert getattr(states, name) == getattr(celery.states, name)


@pytest.mark.parametrize("state", [*celery.states.ALL_STATES, "PROGRESS"])
def test_precedence_is_celerys(state: str) -> None:
    assert states.precedence(state) == celery.states.precedence(state)
