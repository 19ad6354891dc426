"""The fixtures of `celery.contrib.pytest`, all of them, under `python -m taskctl.compat`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CONFTEST = """
import pytest
from celery import Task

pytest_plugins = ("celery.contrib.pytest",)


class Double(Task):
    name = "double"

    def run(self, x):
        return 2 * x


@pytest.fixture(scope="session")
def celery_config():
    return {"task_default_queue": "tests", "result_backend": "cache+memory://"}

@pytest.fixture(scope="session")
def celery_parameters():
    return {"name": "named", "strict_typing": False}

@pytest.fixture(scope="session")
def celery_includes():
    return ["extra", "celery.contrib.testing.tasks"]

@pytest.fixture(scope="session")
def celery_class_tasks():
    return [Double]

@pytest.fixture(scope="session")
def celery_worker_parameters():
    return {"queues": ["tests"], "shutdown_timeout": 20}
"""
EXTRA = """
from celery import shared_task

@shared_task(name="extra.add")
def add(x, y):
    return x + y
"""
TESTS = """
import pytest
from celery import current_app


def test_the_app_has_the_settings_and_parameters(celery_app, celery_config, celery_parameters):
    assert celery_app.conf.task_default_queue == "tests"
    assert celery_app.main == "named"
    assert current_app.main == "named"


@pytest.mark.celery(task_default_queue="marked")
def test_the_mark_wins(celery_app):
    assert celery_app.conf.task_default_queue == "marked"


def test_the_worker_of_the_session(celery_session_app, celery_session_worker):
    assert celery_session_app.tasks["double"].delay(21).get(timeout=20) == 42
    assert celery_session_app.tasks["extra.add"].delay(1, 2).get(timeout=20) == 3


def test_a_worker_for_one_test(celery_app, celery_worker):
    from extra import add
    assert add.delay(2, 2).get(timeout=20) == 4


def test_the_rest(depends_on_current_app, use_celery_app_trap, celery_enable_logging,
                  celery_worker_pool):
    assert not use_celery_app_trap and not celery_enable_logging
    assert celery_worker_pool == "solo"
"""


def test_each_fixture_of_celerys_plugin_works(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "extra.py").write_text(EXTRA)
    (tmp_path / "test_it.py").write_text(TESTS)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    words = ["-m", "taskctl.compat", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p",
             "no:hypothesispytest"]  # fmt: skip

    done = subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path, env={**environment, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True,
    )  # fmt: skip

    assert "5 passed" in done.stdout, done.stdout + done.stderr
