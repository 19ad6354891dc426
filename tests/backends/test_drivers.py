"""A driver that is not installed is named, with what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("url", "driver", "extra"),
    [
        ("db+sqlite:///x.db", "sqlalchemy", "sqlalchemy"),
        ("cache+memcached://localhost/", "pymemcache", "pymemcache"),
        ("mongodb://localhost/", "pymongo", "mongodb"),
        ("django-db", "django", "django"),
    ],
)
def test_a_driver_that_is_not_installed_is_named(url: str, driver: str, extra: str) -> None:
    code = (
        f"import sys; sys.modules[{driver!r}] = None;"
        f"from taskctl.core.backends import open_backend; open_backend({url!r})"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert done.stderr.splitlines()[-1].endswith(
        f"needs the package {driver}, which is not installed: pip install 'taskctl[{extra}]'"
    )
