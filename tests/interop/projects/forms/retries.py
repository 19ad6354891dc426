"""Every form of retry, run here and now; prints a line for each, the same with either library."""

import datetime
import json
import sys
import warnings

if sys.argv[1] == "celery":
    from celery import Celery, chain, chord, group
    from celery.exceptions import Ignore

    app = Celery("forms", broker="memory://", backend="cache+memory://")
else:
    from taskctl import App as Celery
    from taskctl import chain, chord, group
    from taskctl.core.errors import Ignore

    app = Celery("forms", broker="memory://", backend="memory://")

runs = []


def task(**options):
    """Make a task that notes each of its runs."""

    def make(fun):
        def noting(self, *args, **kwargs):
            request = self.request
            runs.append(
                [request.retries, list(request.args), request.kwargs, request.headers or None]
            )
            return fun(self, *args, **kwargs)

        return app.task(bind=True, name=fun.__name__, **options)(noting)

    return make


@task()
def cause(self, *args):
    raise self.retry(exc=ValueError("x"), countdown=0)


@task(max_retries=2)
def no_cause(self):
    self.retry(countdown=0)


@task(max_retries=None)
def without_end(self):
    if self.request.retries < 6:
        self.retry(countdown=0)
    return "done"


@task()
def none_left(self):
    self.retry(max_retries=0)


@task()
def one_left(self):
    self.retry(max_retries=1, countdown=0)


@task()
def goes_on(self):
    if self.request.retries < 2:
        return type(self.retry(throw=False, countdown=0)).__name__
    return "end"


@task()
def other_args(self, a, b=2, c=3):
    if not self.request.retries:
        self.retry(args=(9,), countdown=0)
    return [a, b, c]


@task()
def other_kwargs(self, a, b=2, c=3):
    if not self.request.retries:
        self.retry(kwargs={"b": 8}, countdown=0)
    return [a, b, c]


@task()
def other_both(self, a, b=2, c=3):
    if not self.request.retries:
        self.retry(args=(1,), kwargs={"c": 8}, countdown=0)
    return [a, b, c]


@task()
def at_a_time(self):
    if not self.request.retries:
        self.retry(eta=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    return "eta"


@task()
def other_options(self):
    if not self.request.retries:
        self.retry(countdown=0, headers={"a": 1}, priority=3)
    return "options"


@task(autoretry_for=(ValueError,), max_retries=2, default_retry_delay=0)
def by_itself(self):
    raise ValueError("a")


@task(
    autoretry_for=(Exception,),
    dont_autoretry_for=(KeyError,),
    retry_kwargs={"max_retries": 1, "countdown": 0},
)
def by_itself_but(self, key):
    raise (KeyError if key else ValueError)("a")


@task(
    autoretry_for=(ValueError,), retry_backoff=True, retry_backoff_max=3, retry_jitter=False,
    max_retries=3,
)  # fmt: skip
def ever_later(self):
    raise ValueError("a")


@task(autoretry_for=(ValueError,), max_retries=5, default_retry_delay=0)
def limit_of_the_run(self):
    try:
        1 / 0
    except ZeroDivisionError:
        self.retry(exc=ValueError("z"), max_retries=1, countdown=0)


@task(autoretry_for=(Exception,), max_retries=1, default_retry_delay=0)
def ignored(self):
    raise Ignore()


@task(max_retries=0)
def a_class(self):
    self.retry(exc=ValueError)


@task()
def while_handling(self):
    try:
        raise KeyError("inner")
    except KeyError:
        self.retry(max_retries=0)


@task()
def while_handling_with_cause(self):
    try:
        raise KeyError("inner")
    except KeyError:
        self.retry(max_retries=0, exc=OSError("outer"))


class Patient(app.Task):
    abstract = True
    autoretry_for = (ValueError,)
    max_retries = 1
    default_retry_delay = 0


@task(base=Patient)
def inherited(self):
    raise ValueError("i")


@task(MaxRetriesExceededError=OverflowError, max_retries=0)
def own_error(self):
    self.retry()


@task()
def add_later(self, x, y):
    if self.request.retries < 1:
        self.retry(countdown=0)
    return x + y


@app.task(name="total")
def total(numbers):
    return sum(numbers)


def said(value):
    """Return a value or an error, ids left out."""
    if not isinstance(value, BaseException):
        return repr(value)
    text = " ".join(word.partition("[")[0] for word in str(value).split(" "))
    return f"{type(value).__name__}: {text} because of {value.__cause__!r}"


def show(label, call):
    runs.clear()
    try:
        found = said(call())
    except BaseException as exc:
        found = f"raised {said(exc)}"
    print(label, found, json.dumps(runs))


CALLS = [
    (cause, ()), (cause, (5,)), (no_cause, ()), (without_end, ()), (none_left, ()),
    (one_left, ()), (goes_on, ()), (other_args, (1,)), (other_args, (1, 2, 3)),
    (other_kwargs, (1,)), (other_kwargs, (1, 2)), (other_both, (5, 6)), (at_a_time, ()),
    (other_options, ()), (by_itself, ()), (by_itself_but, (1,)), (by_itself_but, (0,)),
    (ever_later, ()), (limit_of_the_run, ()), (ignored, ()), (a_class, ()),
    (while_handling, ()), (while_handling_with_cause, ()), (inherited, ()), (own_error, ()),
]  # fmt: skip

warnings.simplefilter("ignore")
for one, args in CALLS:
    label = f"{one.name}{args}"
    show(f"applied {label}", lambda: (lambda r: (r.state, said(r.result)))(one.apply(args)))
    show(f"thrown {label}", lambda: one.apply(args, throw=True).result)
    show(f"called {label}", lambda: one(*args))

app.conf.task_always_eager = True
show("chain", lambda: chain(add_later.s(1, 2), add_later.s(3)).apply_async().get())
show("group", lambda: group(add_later.s(i, 2) for i in range(3)).apply_async().get())
show("chord", lambda: chord([add_later.s(i, 2) for i in range(3)])(total.s()).get())
