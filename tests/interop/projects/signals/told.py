"""A project of tasks that end in every way, and notes every signal and hook it is told of.

`WHO` says whose library it is made with; what it hears goes to `TOLD`, a line of JSON each.
"""

import json
import os
import signal as unix
import time

if os.environ["WHO"] == "celery":
    from celery import Celery, Task, signals
    from celery.exceptions import Ignore, Reject
    from celery.utils.dispatch import Signal
else:
    from taskctl import App as Celery
    from taskctl import Task
    from taskctl.core import signals
    from taskctl.core.errors import Ignore, Reject
    from taskctl.core.signals import Signal

app = Celery("told", broker=os.environ["URL"], backend=os.environ["URL"])
app.conf.update(task_acks_late=False, task_reject_on_worker_lost=None)

#: Words for the parts of the two programs.
KINDS = {
    "Consumer": "node", "Worker": "node", "Node": "node", "Celery": "app", "App": "app",
    "AsynPool": "pool", "Children": "pool", "Heart": "heart", "Heartbeat": "heart",
    "Message": "message", "Heard": "message", "Settings": "conf",
}  # fmt: skip


def shown(value):
    kind = type(value).__name__
    if isinstance(value, Task):
        return f"task {value.name}"
    if isinstance(value, BaseException):
        return f"raised {kind.replace('NotRegistered', 'KeyError')}"
    if kind in ("Request", "Context"):
        # What listeners ask of it, whichever it is.
        facts = (value.id, list(value.args), value.kwargs, value.delivery_info["routing_key"])
        return f"request {facts}"
    if KINDS.get(kind) == "message":
        return f"message {value.headers['id']} {value.delivery_info['routing_key']}"
    if isinstance(value, (str, int, type(None))) or kind in ("list", "tuple"):
        return repr(list(value) if kind == "tuple" else value)
    return KINDS.get(kind, kind)


def note(name, sender, named):
    request = named.get("request")
    task_id = named.get("task_id") or named.get("id") or getattr(request, "id", None)
    told = {key: shown(value) for key, value in sorted(named.items())}
    if named.get("traceback") is not None:
        told["traceback"] = "traceback"  # Celery's is a text if the parent tells of it
    line = {"name": name, "id": task_id, "sender": shown(sender), "told": told}
    with open(os.environ["TOLD"], "a") as out:
        out.write(json.dumps(line) + "\n")


def listen(name, signal):
    def receiver(signal=None, sender=None, **named):
        note(name, sender, named)

    signal.connect(receiver, weak=False)


for name in dir(signals):
    if isinstance(getattr(signals, name), Signal) and name != "setup_logging":
        listen(name, getattr(signals, name))


class Telling(app.Task):
    abstract = True

    def before_start(self, task_id, args, kwargs):
        note("before_start", self, {"task_id": task_id, "args": args, "kwargs": kwargs})

    def on_success(self, retval, task_id, args, kwargs):
        note("on_success", self, {"task_id": task_id, "retval": retval, "args": args})

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        note("on_failure", self, {"task_id": task_id, "exc": exc, "args": args, "einfo": einfo})

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        note("on_retry", self, {"task_id": task_id, "exc": exc, "args": args, "einfo": einfo})

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        note("after_return", self, {"task_id": task_id, "status": status, "retval": retval})


def task(**options):
    return lambda fun: app.task(base=Telling, name=fun.__name__, **options)(fun)


@task()
def fine(x):
    return x


@task()
def failing(x):
    raise ValueError("no")


@task(throws=(KeyError,))
def expected(x):
    raise KeyError("e")


@task(bind=True)
def again(self, x):
    if not self.request.retries:
        raise self.retry(countdown=0, exc=ValueError("r"))
    return x


@task(bind=True, max_retries=0)
def spent(self, x):
    raise self.retry(countdown=0)


@task(autoretry_for=(ValueError,), max_retries=1, default_retry_delay=0)
def by_itself(x):
    raise ValueError("auto")


@task()
def rejected(x):
    raise Reject("why", requeue=False)


@task()
def ignored(x):
    raise Ignore()


@task(time_limit=1)
def too_long(x):
    time.sleep(30)


@task()
def killed(x):
    os.kill(os.getpid(), unix.SIGKILL)


@task()
def opaque(x):
    return object()


@task()
def napping(x):
    time.sleep(30)
