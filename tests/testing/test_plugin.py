"""`taskctl.testing` as pytest finds it: in a project of a user's, which has no other plugins."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

#: What the tests of users do not have is left out: hypothesis alone takes a second to compile.
PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest")
#: Without what a run of several processes tells its own.
_ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}

PROJECT = """
from taskctl import App, chord

app = App("shop", broker="redis://nowhere.invalid/0")

@app.task
def add(x, y):
    return x + y

@app.task
def total(numbers):
    return sum(numbers)

@app.task(bind=True, max_retries=2)
def flaky(self):
    if not self.request.retries:
        raise self.retry(countdown=60)
    return "done"

@app.task
def boom():
    raise LookupError("no such thing")
"""
MANY = (
    "from shop import add, chord, flaky, total\n"
    "def test_chord(worker):\n"
    "    assert chord([add.s(i, i) for i in range(5)], total.s()).delay().get() == 20\n"
    "def test_retry(worker, clock):\n"
    "    result = flaky.delay()\n"
    "    clock.advance(60)\n"
    "    assert result.get() == 'done'\n"
    + "".join(
        f"def test_{n}(worker):\n"
        f"    result = add.delay({n}, 1)\n"
        "    worker.run_until_idle()\n"
        f"    assert result.get() == {n + 1}\n"
        for n in range(198)
    )
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(PROJECT)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\npythonpath = .\ntaskctl_app = shop:app\naddopts = --strict-markers\n"
    )
    return tmp_path


def run(project: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *PYTEST, *words],
        cwd=project, env=_ENVIRONMENT, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout + done.stderr


def cpu_seconds(project: Path, *words: str) -> float:
    """Return what a run of pytest costs, in seconds of a processor; it must pass."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = run(project, *words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert " passed in " in said and "failed" not in said, said
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_two_hundred_tests_that_run_a_task_take_less_than_two_seconds(project: Path) -> None:
    """Beyond the start of pytest and the first import; in seconds of a processor, since others
    keep it busy."""
    (project / "test_many.py").write_text(MANY)

    costs = []
    while len(costs) < 3 and min(costs, default=2.0) >= 2:
        start = cpu_seconds(project, "test_many.py::test_0")
        costs.append(cpu_seconds(project, "test_many.py") - start)

    assert min(costs) < 2


@pytest.mark.soak
def test_they_take_less_than_two_seconds_by_the_clock(project: Path) -> None:
    (project / "test_many.py").write_text(MANY)

    said = [run(project, "test_many.py") for _ in range(3)]

    assert min(float(re.findall(r"200 passed in ([\d.]+)s", one)[0]) for one in said) < 2


def test_nothing_of_taskctl_is_imported_before_a_fixture_is_used(project: Path) -> None:
    (project / "test_none.py").write_text(
        "import sys\n"
        "def test_light():\n"
        "    found = sorted(m for m in sys.modules if m.partition('.')[0] == 'taskctl')\n"
        "    assert found == ['taskctl', 'taskctl.testing', 'taskctl.testing.plugin']\n"
    )

    assert "1 passed" in run(project)


def test_loading_the_plugin_takes_a_few_milliseconds() -> None:
    script = (
        "import time, pytest, importlib; began = time.process_time();"
        "importlib.import_module('taskctl.testing.plugin'); print(time.process_time() - began)"
    )

    times = [
        float(subprocess.run([sys.executable, "-c", script], capture_output=True).stdout)
        for _ in range(3)
    ]

    assert min(times) < 0.1


def test_a_failing_test_shows_which_tasks_failed_and_where(project: Path) -> None:
    (project / "test_wrong.py").write_text(
        "from shop import boom\n"
        "def test_wrong(worker):\n"
        "    boom.delay()\n"
        "    worker.run_until_idle()\n"
        "    assert not worker.ran\n"
    )

    said = run(project)

    section = said[said.index("Tasks that failed") :]
    assert 'raise LookupError("no such thing")' in section


def test_tests_run_in_several_processes(project: Path) -> None:
    (project / "test_some.py").write_text(
        "import pytest\nfrom shop import add\n"
        "@pytest.mark.parametrize('n', range(6))\n"
        "def test_add(worker, published, n):\n"
        "    assert add.delay(n, n).get() == 2 * n and len(published) == 1\n"
    )

    assert "6 passed" in run(project, "-n", "2")


def test_unittest_takes_the_worker_as_a_context(project: Path) -> None:
    (project / "test_unit.py").write_text(
        "import unittest\nfrom shop import add, app, flaky\n"
        "from taskctl.testing import worker_for\n"
        "class Tests(unittest.TestCase):\n"
        "    def setUp(self):\n"
        "        self.worker = self.enterContext(worker_for(app))\n"
        "    def test_add(self):\n"
        "        self.assertEqual(add.delay(1, 2).get(), 3)\n"
        "    def test_retry(self):\n"
        "        result = flaky.delay()\n"
        "        self.worker.clock.advance(60)\n"
        "        self.assertEqual(result.get(), 'done')\n"
        "        self.worker.published.assert_sent(flaky, times=2)\n"
    )

    done = subprocess.run(
        [sys.executable, "-m", "unittest", "test_unit"], cwd=project, capture_output=True, text=True
    )

    assert done.stderr.endswith("OK\n"), done.stderr


def test_an_app_that_nobody_named_is_asked_for(project: Path) -> None:
    (project / "pytest.ini").write_text("[pytest]\n")
    (project / "test_no_app.py").write_text("def test_it(worker):\n    pass\n")

    assert "set taskctl_app = module:attribute" in run(project)


def test_own_fixtures_hide_short_names_and_the_clock_is_real_after_each_test(project: Path) -> None:
    (project / "test_own.py").write_text(
        "import pytest\nfrom shop import add\n"
        "@pytest.fixture\ndef worker():\n    return 'Jane'\n"
        "@pytest.fixture\ndef taskctl_settings():\n    return {'task_default_queue': 'mine'}\n"
        "def test_it(worker, taskctl_worker, published):\n"
        "    assert worker == 'Jane' and add.delay(1, 1).get() == 2\n"
        "    assert published[0].queue == 'mine'\n"
    )

    began = time.time()
    (project / "test_time.py").write_text(
        "from shop import app\n"
        "def test_far(worker, clock):\n    clock.advance(10 * 86400)\n"
        f"def test_near():\n    assert app.now().timestamp() - {began} < 600\n"
    )

    assert "3 passed" in run(project)
