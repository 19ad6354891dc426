"""What pytest loads of its own accord: fixtures, a mark, a word on failed tasks in reports.

Imports nothing of taskctl before a fixture is used.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .bench import Bench
    from .inprocess import InProcessWorker
    from .published import Published
    from .schedule import InProcessBeat
    from .timepiece import VirtualClock

_MARK = (
    "taskctl(now=..., queues=..., propagate=..., **settings): the test's clock, its worker, and "
    "settings of the app, for one test (taskctl)"
)
_bench: pytest.StashKey[Bench] = pytest.StashKey()


def _keep_as_compiled() -> None:
    """Let taskctl's modules be imported as they are.

    pytest (seen with 8 and 9) compiles every module of a package that brings a plugin anew, to
    say more of its asserts: a second for ours, which has none to speak of, in every run that may
    not write byte code.
    """
    for finder in sys.meta_path:
        marked = getattr(finder, "_must_rewrite", None)
        if isinstance(marked, set):
            marked.discard("taskctl")


_keep_as_compiled()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the name of the app from the file of settings."""
    parser.addini("taskctl_app", "the app under test, as module:attribute (taskctl)", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", _MARK)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, None]:
    """Show which tasks failed, beside what a failing test says itself."""
    outcome = yield
    bench = item.stash.get(_bench, None)
    if bench is None or call.when != "call" or not bench.has_worker:
        return
    from .inprocess import describe  # loaded by then

    report = outcome.get_result()
    if report.failed and bench.worker.failures:
        text = "\n".join(describe(ran) for ran in bench.worker.failures)
        report.sections.append(("Tasks that failed", text))


@pytest.fixture
def taskctl_app(request: pytest.FixtureRequest) -> Any:
    """The app under test: the ini option `taskctl_app`, else the process's current app.

    Define a fixture of this name for another.
    """
    from taskctl.core import current  # not before it is used
    from taskctl.core.loader import import_object

    named = request.config.getini("taskctl_app")
    if named:
        return import_object(named)
    app = current.get_app(make=False)
    if app is None:
        raise pytest.UsageError(
            "no app to test: set taskctl_app = module:attribute in pytest's settings,"
            " or define a fixture taskctl_app"
        )
    return app


@pytest.fixture
def taskctl_settings() -> Mapping[str, Any]:
    """Settings that win over the app's; define a fixture of this name for some."""
    return {}


@pytest.fixture
def taskctl_bench(
    request: pytest.FixtureRequest, taskctl_app: Any, taskctl_settings: Mapping[str, Any]
) -> Iterator[Bench]:
    """The app with broker and results in memory; the other fixtures are parts of this one."""
    from .bench import bench_for  # not before it is used

    mark = request.node.get_closest_marker("taskctl")
    given = dict(mark.kwargs) if mark else {}
    options = {key: given.pop(key) for key in ("now", "queues", "propagate") if key in given}
    settings = {**taskctl_settings, **given}
    with bench_for(taskctl_app, settings=settings, **options) as bench:
        request.node.stash[_bench] = bench
        yield bench


@pytest.fixture
def taskctl_worker(taskctl_bench: Bench) -> InProcessWorker:
    """A worker in this process, which runs tasks when told to."""
    return taskctl_bench.worker


@pytest.fixture
def taskctl_beat(taskctl_bench: Bench) -> InProcessBeat:
    """What sends the app's periodic tasks as the clock moves."""
    return taskctl_bench.beat


@pytest.fixture
def taskctl_clock(taskctl_bench: Bench) -> VirtualClock:
    """The clock that ETAs, countdowns, retries, expires and schedules go by."""
    return taskctl_bench.clock


@pytest.fixture
def taskctl_published(taskctl_bench: Bench) -> Published:
    """Every call that was sent in this test."""
    return taskctl_bench.published


# The same under short names, which a fixture of your own hides.


@pytest.fixture
def worker(taskctl_worker: InProcessWorker) -> InProcessWorker:
    """A worker in this process; `taskctl_worker` if the name is taken."""
    return taskctl_worker


@pytest.fixture
def beat(taskctl_beat: InProcessBeat) -> InProcessBeat:
    """What sends periodic tasks; `taskctl_beat` if the name is taken."""
    return taskctl_beat


@pytest.fixture
def clock(taskctl_clock: VirtualClock) -> VirtualClock:
    """The clock of this test; `taskctl_clock` if the name is taken."""
    return taskctl_clock


@pytest.fixture
def published(taskctl_published: Published) -> Published:
    """Every call that was sent; `taskctl_published` if the name is taken."""
    return taskctl_published
