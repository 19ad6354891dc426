"""Fixtures of the tests of commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
