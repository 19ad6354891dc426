"""Ways to define tasks and to annotate them; prints a line for each, the same in both libraries."""

import sys
import warnings

if sys.argv[1] == "celery":
    from celery import Celery, Task
else:
    from taskctl import App as Celery
    from taskctl import Task

warnings.simplefilter("ignore")


def app(**settings):
    made = Celery("forms", broker="memory://", set_as_current=False)
    made.conf.update(settings)
    return made


def show(label, call):
    try:
        print(label, call())
    except BaseException as exc:
        print(label, "raised", type(exc).__name__, exc)


class Annotations:
    def annotate(self, task):
        return {"rate_limit": "7/m"} if task.name.endswith("o") else None

    def annotate_any(self):
        return {"max_retries": 9}


def around(method):
    return lambda *args, **kwargs: ("around", method(*args, **kwargs))


def on_failure(self, *args):
    return "annotated"


ANNOTATIONS = {
    "a dict": {"n.foo": {"rate_limit": "1/s"}},
    "a star": {"*": {"rate_limit": "2/s", "max_retries": 1}},
    "an object": Annotations(),
    "a path": "__main__.Annotations",
    "a list": [{"n.foo": {"rate_limit": "4/s"}}, Annotations()],
    "a tuple": (Annotations(), {"n.foo": {"rate_limit": "4/s"}}),
    "a wrapped call": {"*": {"@__call__": around}},
    "a wrapped run": {"*": {"@run": around}},
    "a method": {"*": {"on_failure": on_failure}},
    "nothing": None,
}


def annotated(annotations):
    made = app(task_annotations=annotations)

    @made.task(name="n.foo")
    def foo():
        return 1

    @made.task(name="n.bar", rate_limit="9/h")
    def bar():
        return 2

    about = [(one.rate_limit, one.max_retries) for one in (foo, bar)]
    return about, foo(), foo.on_failure(1, 2, 3, 4, 5)


for words, annotations in ANNOTATIONS.items():
    show(words, lambda: annotated(annotations))

made = app(task_serializer="yaml", task_acks_late=True, task_default_rate_limit="5/s")


class Base(made.Task):
    abstract = True
    x = 1
    max_retries = 7
    serializer = "json"


class Sub(Base):
    name = "sub"
    x = 2

    def run(self, factor):
        return factor * self.x


class Nameless(Task):
    def run(self):
        return 1


class Configured(Task):
    name = "configured"
    from_config = (*Task.from_config, ("greeting", "task_default_queue"))
    greeting = None

    def run(self):
        return self.greeting


def of_sub():
    task = made.register_task(Sub())
    return task.name, task.max_retries, task.serializer, task.acks_late, task.rate_limit, task(4)


show("an instance", of_sub)
show("a class", lambda: made.register_task(Nameless).name)
show("settings of its own", lambda: made.register_task(Configured())())
show("a made base", lambda: (made.create_task_cls().__name__, made.create_task_cls().abstract))


@made.task(base=Base, bind=True, name="based", x=5)
def based(self):
    return self.x, self.max_retries, self.serializer


show("a base", lambda: (based(), isinstance(based, Base), based.__name__, based.__module__))


@made.task(name="wrapped")
def wrapped():
    return 1


def with_around():
    type(wrapped).add_around("__call__", around)
    return wrapped()


show("add_around", with_around)


@made.task(name="typed")
def typed(x, *, k, y=1):
    return x


@made.task(name="untyped", typing=False)
def untyped(x):
    return x


made.conf.task_always_eager = True
for args, kwargs in [((), {}), ((1,), {}), ((1,), {"k": 2}), ((1, 2), {"k": 1}), ((1,), {"z": 3})]:
    show(f"typed {args} {kwargs}", lambda: typed.apply_async(args, kwargs).state)
show("untyped", lambda: untyped.apply_async(()).state)
