"""Fixtures of the tests of commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.inside import Desk
from ..support.nodes import Host
from ..support.shell import Shell


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A place to run nodes in; none outlives the test."""
    host = Host(tmp_path)
    yield host
    host.kill_all()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A folder with a project, to type commands in; no process outlives the test."""
    shell = Shell(tmp_path)
    yield shell
    shell.close()


@pytest.fixture(params=["sqlite", "redis"])
def desk(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Desk]:
    """An empty broker of each kind, and the program called inside this process."""
    monkeypatch.chdir(tmp_path)
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/queue.db"
    else:
        url = str(request.getfixturevalue("redis_url"))
    desk = Desk(url, capsys)
    yield desk
    desk.close()
