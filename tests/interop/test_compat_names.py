"""Every name that Celery has is either ours or refused with a reason; what is the same, is."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import taskctl
from taskctl import compat
from taskctl.compat import finder, names
from taskctl.core import settings_table, ways
from taskctl.core.errors import ImproperlyConfigured, UnsupportedFeature

from ..support.as_celery import as_celery
from . import celery_names
from .compat_table import PAGE, with_table


def run(code: str, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a few lines in a fresh Python."""
    return subprocess.run(
        [sys.executable, *options, code], capture_output=True, text=True, timeout=60,
        env={"PATH": "/usr/bin:/bin", "PYTHONWARNINGS": "error", **env},
    )  # fmt: skip


@pytest.fixture
def installed() -> Iterator[None]:
    """taskctl in the place of Celery, whose modules come back when the test is over."""
    with as_celery():
        yield


def test_the_list_of_names_is_that_of_the_celery_that_is_installed() -> None:
    assert celery_names.main(["--check"]) == 0


def test_every_name_of_celery_is_ours_or_refused_with_a_reason(installed: None) -> None:
    counts: Counter[str] = Counter()
    unexplained = []
    for module, public in finder.public_names().items():
        for name in public:
            try:
                getattr(importlib.import_module(module), name)
                counts["ours"] += 1
            except UnsupportedFeature as refusal:
                counts["refused"] += 1
                if not finder.reason_of(module, name) or "not in taskctl: " not in str(refusal):
                    unexplained.append(f"{module}.{name}")

    print(f"\n{len(finder.public_names())} modules: {dict(counts)}")
    assert unexplained == []
    assert counts["ours"] > 400


def test_every_name_of_the_tables_is_there(installed: None) -> None:
    held = [(module, name) for module in names.MODULES for name in finder.holdings(module)]
    held += [(module, name) for module, values in names.VALUES.items() for name in values]

    missing = [
        (module, name)
        for module, name in held
        if not hasattr(importlib.import_module(module), name)
    ]

    assert missing == []


def test_names_of_celery_are_the_very_objects_of_taskctl(installed: None) -> None:
    celery: Any = importlib.import_module("celery")
    exceptions: Any = importlib.import_module("celery.exceptions")
    kombu: Any = importlib.import_module("kombu")

    assert celery.Celery is taskctl.App
    assert celery.group is taskctl.group
    assert celery.app.task.Task is taskctl.Task
    assert celery.schedules.crontab is taskctl.schedules.crontab
    assert celery.signals.task_prerun is taskctl.signals.task_prerun
    assert exceptions.Retry is taskctl.exceptions.Retry
    assert exceptions.SoftTimeLimitExceeded is taskctl.exceptions.SoftTimeLimitExceeded
    assert kombu.exceptions.OperationalError is taskctl.exceptions.OperationalError
    assert celery.VERSION[:2] == (5, 7)


def test_celerys_defaults_hold_while_it_is_installed(installed: None) -> None:
    from_celery = {
        name: row.celery_default()
        for name, row in settings_table.SETTINGS.items()
        if row.celery_default() != row.default
    }

    conf = taskctl.App("drop-in", set_as_current=False).conf

    assert sorted(from_celery) == [
        "redis_socket_timeout", "task_acks_late", "task_priority_order",
        "task_reject_on_worker_lost",
        "worker_prefetch_multiplier",
    ]  # fmt: skip
    assert {name: conf[name] for name in from_celery} == from_celery
    app = taskctl.App("drop-in", set_as_current=False)
    assert app.broker_url() == ways.CELERY_BROKER
    assert app.backend_url() is None
    assert conf.get("CELERY_NO_SUCH_SETTING") is None


def test_defaults_of_celery_are_those_that_the_table_says() -> None:
    code = """
from celery.app.defaults import NAMESPACES, flatten
from taskctl.core.settings_table import SETTINGS
for name, option in flatten(NAMESPACES):
    row = SETTINGS[name].celery_default()
    same = row == option.default or (
        isinstance(option.default, (set, tuple)) and list(row) == list(option.default))
    if not same: print(name, row, option.default)
"""
    assert run(code, "-Wignore", "-c", PYTHONWARNINGS="ignore").stdout == ""


def test_defaults_are_ours_again_when_it_is_uninstalled(installed: None) -> None:
    compat.uninstall()

    assert taskctl.App("own", set_as_current=False).conf.task_acks_late is True
    assert not compat.installed()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("from celery.concurrency.gevent import TaskPool", "no green threads; use -P threads"),
        ("from celery.bootsteps import ConsumerStep", "a worker takes task messages only"),
        ("import celery.backends.cassandra", "there is no result backend of this kind"),
        ("from kombu import Connection", "use app.connection_for_write()"),
        ("import celery; celery.Celery('x', amqp='my:AMQP')", "cannot be replaced"),
        ("from celery.security.key import PrivateKey", "call app.setup_security"),
        ("import celery; celery.Celery('x').amqp.TaskConsumer()", "app.amqp.TaskConsumer"),
        ("import kombu; kombu.Queue('q', on_declared=print)", "kombu.Queue(on_declared=...)"),
        ("from celery.contrib.migrate import move", "run 'taskctl migrate'"),
    ],
)
def test_what_is_not_supported_says_so_at_its_first_use(
    installed: None, line: str, said: str
) -> None:
    with pytest.raises(UnsupportedFeature, match="is not in taskctl") as refusal:
        exec(line, {})

    assert said in str(refusal.value)


def test_a_name_that_celery_has_not_either_is_a_plain_import_error(installed: None) -> None:
    with pytest.raises(ImportError, match="nonsense"):
        exec("from celery import nonsense", {})
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("celery.nonsense")


def test_a_program_that_has_imported_celery_already_is_told(installed: None) -> None:
    compat.uninstall()
    sys.modules["kombu"] = sys.modules["json"]

    with pytest.raises(ImproperlyConfigured, match="kombu was imported already"):
        compat.install()


def test_ours_wins_though_celery_is_installed_and_nobody_else_pays_for_it() -> None:
    said = run(
        "import celery; print(celery.Celery.__module__, celery.__file__)", "-mtaskctl.compat", "-c"
    )
    plain = run(
        "import sys, taskctl, taskctl.program; print('taskctl.compat' in sys.modules)", "-c"
    )

    assert said.stdout == "taskctl.core.app <taskctl.compat: celery>\n", said.stderr
    assert plain.stdout == "False\n"


def test_scripts_and_modules_run_as_under_python(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("name = 'beside'\n")
    script = tmp_path / "script.py"
    script.write_text("import sys, celery, beside; print(__name__, sys.argv[1:], beside.name)")

    ran = run(str(script), "-m", "taskctl.compat")
    missing = run("nothing.py", "-m", "taskctl.compat")
    version = run("--version", "-m", "taskctl.compat", "-m", "celery")

    assert ran.stdout == "__main__ [] beside\n", ran.stderr
    assert (missing.returncode, missing.stderr) == (
        2, "error: cannot open 'nothing.py': no such file\n",
    )  # fmt: skip
    assert version.stdout.startswith("taskctl ")


def test_queues_are_made_as_kombu_makes_them(installed: None) -> None:
    kombu: Any = importlib.import_module("kombu")
    common: Any = importlib.import_module("kombu.common")
    media = kombu.Exchange("media", type="topic", delivery_mode="transient")

    queue = kombu.Queue("video", media, "video.#", max_priority=5, durable=False)
    plain = kombu.Queue("mail", exchange="mail", routing_key="mail")
    news = common.Broadcast("news")

    assert isinstance(queue, kombu.Queue) and isinstance(queue, taskctl.Queue)
    assert (queue.name, queue.exchange.type, queue.routing_key) == ("video", "topic", "video.#")
    assert (queue.max_priority, queue.durable, media.delivery_mode) == (5, False, 1)
    assert plain.exchange == taskctl.Exchange(name="mail")
    assert news.exchange.type == "fanout" and news.auto_delete


def test_the_page_has_the_table_of_all_modules() -> None:
    assert with_table(PAGE.read_text()) == PAGE.read_text(), (
        "run: python -m tests.interop.compat_table"
    )
