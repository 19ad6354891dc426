"""The window in which a task may be interrupted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskctl.core import interrupts


class Limit(Exception):
    pass


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    interrupts.reset()
    yield
    interrupts.reset()


def test_raises_inside_the_window_and_closes_it() -> None:
    interrupts.allow()

    with pytest.raises(Limit):
        interrupts.interrupt(Limit())

    interrupts.interrupt(Limit())


def test_waits_outside_the_window_until_it_opens() -> None:
    interrupts.interrupt(Limit())
    interrupts.forbid()

    with pytest.raises(Limit):
        interrupts.allow()

    interrupts.allow()


def test_is_forgotten_when_the_request_is_over() -> None:
    interrupts.interrupt(Limit())

    interrupts.reset()

    interrupts.allow()
