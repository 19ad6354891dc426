import os
from datetime import UTC, datetime

from celery import Task, chain, chord, group, shared_task, states
from celery.contrib.abortable import AbortableTask
from celery.exceptions import Ignore, MaxRetriesExceededError, Reject, SoftTimeLimitExceeded
from celery.utils.log import get_task_logger

from .celery import app

logger = get_task_logger(__name__)


def note(line):
    """Write a line where both sides of a comparison can read it."""
    with open(os.environ["SHOP_JOURNAL"], "a") as journal:
        journal.write(line + "\n")


class OutOfStock(Exception):
    def __init__(self, item, wanted):
        self.item = item
        self.wanted = wanted
        super().__init__(item, wanted)


class NotingTask(Task):
    abstract = True

    def __call__(self, *args, **kwargs):
        note(f"call {self.name}")
        return super().__call__(*args, **kwargs)

    def before_start(self, task_id, args, kwargs):
        note(f"before {self.name} {args}")

    def on_success(self, retval, task_id, args, kwargs):
        note(f"success {self.name} {retval}")

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        note(f"failure {self.name} {type(exc).__name__} {exc.args} {'Traceback' in str(einfo)}")

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        note(f"retry {self.name} {type(exc).__name__}")

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        note(f"after {self.name} {status}")


@app.task
def add(x, y):
    logger.info("adding %s and %s", x, y)
    return x + y


@app.task(ignore_result=True)
def send_mail(to):
    note(f"mail {to}")


@shared_task
def total(numbers):
    return sum(numbers)


@shared_task(name="shop.reports.square")
def square(x):
    return x * x


@app.task(bind=True, base=NotingTask)
def reserve(self, item, wanted, stock=1):
    if wanted > stock:
        raise OutOfStock(item, wanted)
    return f"{wanted} {item}"


@app.task(bind=True, base=NotingTask, max_retries=2, default_retry_delay=0)
def flaky(self, fail_times):
    if self.request.retries < fail_times:
        try:
            raise ConnectionError(f"try {self.request.retries}")
        except ConnectionError as exc:
            raise self.retry(exc=exc, countdown=1)
    return self.request.retries


@app.task(
    autoretry_for=(ZeroDivisionError,),
    retry_backoff=False,
    retry_jitter=False,
    retry_kwargs={"max_retries": 1, "countdown": 1},
)
def divide(x, y):
    return x / y


@app.task(bind=True, max_retries=1, default_retry_delay=0)
def gives_up(self):
    try:
        self.retry(countdown=0)
    except MaxRetriesExceededError as exc:
        return f"gave up: {type(exc).__name__}"


@app.task(bind=True)
def whoami(self, *args, **kwargs):
    r = self.request
    return {
        "name": self.name,
        "retries": r.retries,
        "args": r.args,
        "kwargs": r.kwargs,
        "root": r.root_id == r.id,
        "parent": r.parent_id,
        "eager": r.is_eager,
        "direct": r.called_directly,
        "key": r.delivery_info["routing_key"],
        "lang": r.lang,
        "shadow": r.shadow,
        "late": self.acks_late,
        "headers": (r.headers or {}).get("tenant"),
        "expires": r.expires is not None,
        "limits": r.timelimit,
    }


@app.task(bind=True)
def progress(self):
    self.update_state(state="PROGRESS", meta={"done": 50})
    return app.AsyncResult(self.request.id).state


@app.task(bind=True)
def ignored(self):
    self.update_state(
        state=states.FAILURE,
        meta={"exc_type": "Ignored", "exc_message": ["x"], "exc_module": "builtins"},
    )
    raise Ignore()


@app.task(bind=True, acks_late=True)
def rejected(self):
    note("rejected")
    raise Reject("no", requeue=False)


@app.task(soft_time_limit=1, time_limit=20)
def slow():
    import time

    try:
        time.sleep(15)
    except SoftTimeLimitExceeded:
        return "cut short"


@app.task
def limited():
    return limited.rate_limit


@app.task(bind=True)
def starts_others(self):
    return [str(add.delay(1, 1).parent), len(self.request.children)]


@app.task(bind=True, base=AbortableTask)
def patient(self):
    import time

    for _ in range(200):
        if self.is_aborted():
            return "aborted"
        time.sleep(0.05)
    return "done"


@app.task
def when():
    return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@app.task
def on_error(request, exc, traceback):
    note(f"errback {request.task} {type(exc).__name__} {exc}")


class Discount(app.Task):
    name = "shop.tasks.Discount"
    ignore_result = False
    rate = 10

    def run(self, price):
        return price - price * self.rate / 100


Discount = app.register_task(Discount())


def workflow():
    return chain(add.s(1, 2), group(add.s(10), square.s()), total.s())


def fan_in(n):
    return chord((add.s(i, i) for i in range(n)), total.s())
