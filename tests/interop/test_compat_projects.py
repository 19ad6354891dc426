"""Projects written for Celery alone: Celery and taskctl run them, and say the same.

Both sides run at once, each on a Redis database of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskctl import App

from ..support.servers import RedisServer
from ..support.waiting import eventually

PROJECTS = Path(__file__).with_name("projects")
#: How each side runs a script, and its own program.
SIDES: dict[str, tuple[list[str], list[str]]] = {
    "celery": ([], ["-m", "celery"]),
    "taskctl": (["-m", "taskctl.compat"], ["-m", "taskctl", "--celery-compat"]),
}


class Side:
    """One of both, at work on a project."""

    def __init__(self, name: str, project: str, folder: Path, **env: str) -> None:
        self.script, self.program = SIDES[name]
        self.home = PROJECTS / project
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("CELERY_", "DJANGO_"))},
            "PYTHONPATH": str(self.home),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONWARNINGS": "ignore",
            "C_FORCE_ROOT": "1",
            "SHOP_JOURNAL": str(self.folder / "journal"),
            "SITE_DATABASE": str(self.folder / "site.sqlite"),
            **env,
        }
        self.running: list[subprocess.Popen[bytes]] = []

    def _start(self, words: list[str], out: str) -> subprocess.Popen[bytes]:
        with (self.folder / out).open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, *words], cwd=self.home, env=self.env, stdout=file,
                stderr=subprocess.STDOUT if out.endswith("log") else None, start_new_session=True,
            )  # fmt: skip
        self.running.append(process)
        return process

    def command(self, *words: str) -> None:
        """Start a command of the side's own program, and leave it running."""
        self._start([*self.program, *words], f"{words[2]}.log")

    def log(self, command: str) -> str:
        return (self.folder / f"{command}.log").read_text()

    def begin(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a script; `said` has what it prints."""
        return self._start([*self.script, *words], "out")

    def said(self, process: subprocess.Popen[bytes]) -> str:
        code = process.wait(90)
        assert code == 0, self._logs()
        return (self.folder / "out").read_text()

    def journal(self) -> list[str]:
        return sorted((self.folder / "journal").read_text().splitlines())

    def _logs(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in self.folder.glob("*.log"))

    def close(self) -> None:
        for process in self.running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


@pytest.fixture(scope="module")
def broker() -> Iterator[RedisServer]:
    server = RedisServer().start()
    yield server
    server.stop()


def both(
    broker: RedisServer, folder: Path, project: str, name: str, number: int, **env: str
) -> list[Side]:
    """Return both sides, whose broker is in the variable `name`."""
    base = broker.url.rpartition("/")[0]
    return [
        Side(side, project, folder, **{name: f"{base}/{number + offset}"}, **env)
        for offset, side in enumerate(SIDES)
    ]


def test_a_project_of_celery_runs_on_taskctl_with_the_same_outcome(
    broker: RedisServer, tmp_path: Path
) -> None:
    """Canvas, retries, hooks, signals, schedules, remote commands, kombu's connections."""
    sides = both(broker, tmp_path, "plain", "SHOP_BROKER", 0)
    try:
        for side in sides:
            side.command("-A", "shop", "worker", "-l", "INFO", "-c", "2")
        runs = [side.begin("run.py") for side in sides]
        theirs, ours = (json.loads(s.said(run)) for s, run in zip(sides, runs, strict=True))

        assert ours == theirs
        assert len(ours) > 40
        eventually(lambda: sides[1].journal() == sides[0].journal(), within=10)
        assert "shop.tasks.add" in sides[1].log("worker")
    finally:
        for side in sides:
            side.close()


def test_a_django_site_runs_on_taskctl_with_the_same_outcome(
    broker: RedisServer, tmp_path: Path
) -> None:
    """Autodiscovery, settings with a namespace, models, delay_on_commit, results in its tables."""
    sides = both(broker, tmp_path, "django", "SITE_BROKER", 2, SITE_RESULTS="django-db")
    try:
        for side in sides:
            side.said(side.begin("manage.py", "migrate", "-v", "0"))
            side.command("-A", "mysite", "worker", "-l", "INFO", "-c", "2")
        runs = [side.begin("run.py") for side in sides]
        theirs, ours = (json.loads(s.said(run)) for s, run in zip(sides, runs, strict=True))

        assert ours == theirs
        assert ours["after commit"] == 2
    finally:
        for side in sides:
            side.close()


def test_a_projects_own_tests_pass_on_both(broker: RedisServer, tmp_path: Path) -> None:
    """With the plugin celery.contrib.pytest, and a worker in a thread."""
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(PROJECTS / "plain"),
             "-c", os.devnull, "tests")  # fmt: skip
    sides = both(broker, tmp_path, "plain", "SHOP_BROKER", 6)
    try:
        runs = [side.begin(*words) for side in sides]
        said = [side.said(run) for side, run in zip(sides, runs, strict=True)]

        assert all("4 passed" in one for one in said), said
    finally:
        for side in sides:
            side.close()


def test_entries_of_django_celery_beat_are_sent(broker: RedisServer, tmp_path: Path) -> None:
    pytest.importorskip("django_celery_beat")
    side = both(broker, tmp_path, "django", "SITE_BROKER", 8, SITE_BEAT="1")[1]
    try:
        side.said(side.begin("manage.py", "migrate", "-v", "0"))
        code = (
            "import os, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'mysite.settings'\n"
            "django.setup()\n"
            "from django_celery_beat.models import IntervalSchedule, PeriodicTask\n"
            "every = IntervalSchedule.objects.create(every=1, period='seconds')\n"
            "PeriodicTask.objects.create(interval=every, name='c', task='polls.tasks.count_votes')"
        )
        side.said(side.begin("-c", code))
        scheduler = "django_celery_beat.schedulers:DatabaseScheduler"
        side.command("-A", "mysite", "beat", "-l", "INFO", "-S", scheduler)

        eventually(lambda: side.log("beat").count("polls.tasks.count_votes") >= 2, within=30)
        assert "Traceback" not in side.log("beat")
    finally:
        side.close()


def test_nodes_started_by_multi_see_taskctl_as_celery(broker: RedisServer, tmp_path: Path) -> None:
    side = both(broker, tmp_path, "plain", "SHOP_BROKER", 9)[1]
    run = tmp_path / "run"
    files = [f"--pidfile={run}/%n.pid", f"--logfile={run}/%n.log"]
    program = [sys.executable, "-m", "taskctl"]

    def multi(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*program, "multi", *words, "-A", "shop", "--celery-compat", *files],
            cwd=side.home, env=side.env, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    started = multi("start", "w1", "-l", "INFO", "-c", "1")
    try:
        assert started.returncode == 0, started.stderr
        with App("asker", broker=side.env["SHOP_BROKER"], set_as_current=False) as app:
            (conf,) = app.control.inspect(timeout=20, limit=1).conf(True).values()
        assert (conf["task_acks_late"], conf["worker_prefetch_multiplier"]) == (False, 4)
    finally:
        assert multi("stopwait", "w1").returncode == 0
