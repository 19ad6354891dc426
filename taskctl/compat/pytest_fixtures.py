"""`pytest_plugins = ("celery.contrib.pytest",)`: the fixtures of that plugin."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from . import testing

#: Set to leave the workers of tests out.
NO_WORKER = os.environ.get("NO_WORKER")


def pytest_configure(config: Any) -> None:
    """Make the mark `celery` known."""
    config.addinivalue_line("markers", "celery(**settings): settings of the test's app")


@pytest.fixture(scope="session")
def use_celery_app_trap() -> bool:
    """Whether any use of the current app fails."""
    return False


@pytest.fixture(scope="session")
def celery_enable_logging() -> bool:
    """Whether test apps set logs up."""
    return False


@pytest.fixture(scope="session")
def celery_includes() -> Sequence[str]:
    """Modules that a worker imports."""
    return ()


@pytest.fixture(scope="session")
def celery_worker_pool() -> str:
    """The pool of a worker."""
    return "solo"


@pytest.fixture(scope="session")
def celery_config() -> Mapping[str, Any]:
    """Settings of test apps."""
    return {}


@pytest.fixture(scope="session")
def celery_parameters() -> Mapping[str, Any]:
    """Arguments of the class of test apps."""
    return {}


@pytest.fixture(scope="session")
def celery_worker_parameters() -> Mapping[str, Any]:
    """Arguments of workers."""
    return {}


@pytest.fixture(scope="session")
def celery_class_tasks() -> Sequence[Any]:
    """Tasks written as classes, to be registered."""
    return ()


@pytest.fixture(scope="session")
def celery_session_app(
    request: Any,
    celery_config: Mapping[str, Any],
    celery_parameters: Mapping[str, Any],
    celery_enable_logging: bool,
    use_celery_app_trap: bool,
) -> Iterator[Any]:
    """An app for all tests."""
    app = _app(request, celery_config, celery_parameters, celery_enable_logging)
    with testing.setup_default_app(app, use_trap=use_celery_app_trap):
        yield app


@pytest.fixture(scope="session")
def celery_session_worker(
    celery_session_app: Any,
    celery_includes: Sequence[str],
    celery_class_tasks: Sequence[Any],
    celery_worker_pool: str,
    celery_worker_parameters: Mapping[str, Any],
) -> Iterator[Any]:
    """A worker for all tests, in a thread."""
    yield from _worker(
        celery_session_app, celery_includes, celery_class_tasks, celery_worker_pool,
        celery_worker_parameters,
    )  # fmt: skip


@pytest.fixture
def celery_app(
    request: Any,
    celery_config: Mapping[str, Any],
    celery_parameters: Mapping[str, Any],
    celery_enable_logging: bool,
    use_celery_app_trap: bool,
) -> Iterator[Any]:
    """An app for one test."""
    app = _app(request, celery_config, celery_parameters, celery_enable_logging)
    with testing.setup_default_app(app, use_trap=use_celery_app_trap):
        yield app


@pytest.fixture
def celery_worker(
    celery_app: Any,
    celery_includes: Sequence[str],
    celery_worker_pool: str,
    celery_worker_parameters: Mapping[str, Any],
) -> Iterator[Any]:
    """A worker for one test, in a thread."""
    yield from _worker(
        celery_app, celery_includes, (), celery_worker_pool, celery_worker_parameters
    )


@pytest.fixture
def depends_on_current_app(celery_app: Any) -> None:
    """Make the test's app the current one."""
    celery_app.set_current()


def _app(
    request: Any, config: Mapping[str, Any], parameters: Mapping[str, Any], logging: bool
) -> Any:
    mark = request.node.get_closest_marker("celery")
    wanted = {**config, **(mark.kwargs if mark else {})}
    return testing.TestApp(config=wanted, enable_logging=logging, **parameters)


def _worker(
    app: Any, includes: Sequence[str], classes: Sequence[Any], pool: str, options: Mapping[str, Any]
) -> Iterator[Any]:
    if NO_WORKER:
        yield None
        return
    for module in includes:
        app.loader.import_task_module(module)
    for task in classes:
        app.register_task(task)
    with testing.start_worker(app, pool=pool, **options) as worker:
        yield worker
