"""How this project tests itself: with the plugin, and with a worker of its own."""

import pytest
from celery.contrib.testing.tasks import ping  # noqa: F401 - registers the task
from celery.contrib.testing.worker import start_worker
from shop import tasks
from shop.celery import app

pytest_plugins = ("celery.contrib.pytest",)


@pytest.fixture(scope="session")
def celery_config():
    return {"broker_url": "memory://", "result_backend": "cache+memory://"}


def test_a_task_of_a_test(celery_app, celery_worker):
    @celery_app.task
    def mul(x, y):
        return x * y

    celery_worker.reload()
    assert mul.delay(4, 4).get(timeout=10) == 16


@pytest.mark.celery(result_serializer="pickle")
def test_the_mark(celery_app):
    assert celery_app.conf.result_serializer == "pickle"


def test_a_worker_of_ones_own():
    with start_worker(app, perform_ping_check=False) as worker:
        assert worker.hostname
        assert tasks.add.delay(1, 2).get(timeout=10) == 3


def test_eager():
    app.conf.task_always_eager = True
    try:
        assert tasks.add.delay(1, 2).get() == 3
        assert tasks.flaky.apply((1,)).get() == 1
    finally:
        app.conf.task_always_eager = False
