"""The same eager calls give the same in Celery and here: `task_always_eager`, and `apply`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import celery
import celery.exceptions
import celery.signals
import pytest

import taskctl
from taskctl.core import current, signals
from taskctl.core.errors import Ignore, Reject, Retry


def _celerys(**settings: Any) -> Any:
    app = celery.Celery("eager", broker="memory://", backend="cache+memory://", set_as_current=True)
    app.conf.update(task_always_eager=True, **settings)
    app.set_current()
    return SimpleNamespace(
        app=app, chain=celery.chain, group=celery.group, chord=celery.chord,
        chunks=celery.chunks, signals=celery.signals, Ignore=celery.exceptions.Ignore,
        Reject=celery.exceptions.Reject, Retry=celery.exceptions.Retry,
    )  # fmt: skip


def _ours(**settings: Any) -> Any:
    url = f"memory://{uuid4()}"
    app = taskctl.App("eager", broker=url, backend=url, task_always_eager=True, **settings)
    return SimpleNamespace(
        app=app, chain=taskctl.chain, group=taskctl.group, chord=taskctl.chord,
        chunks=taskctl.chunks, signals=signals, Ignore=Ignore, Reject=Reject, Retry=Retry,
    )  # fmt: skip


class Tasks:
    """The same tasks in an app of either library; `log` is what they tell."""

    def __init__(self, lib: Any) -> None:
        self.lib, self.app = lib, lib.app
        log: list[Any] = []
        self.log = log
        task = lib.app.task

        @task(name="add", shared=False)
        def add(x: int, y: int) -> int:
            return x + y

        @task(name="total", shared=False)
        def total(numbers: list[int]) -> int:
            return sum(numbers)

        @task(name="boom", shared=False)
        def boom(*args: Any) -> None:
            raise LookupError("no such thing")

        @task(name="note", shared=False)
        def note(*args: Any, **kwargs: Any) -> None:
            log.append(("note", len(args), sorted(kwargs)))

        @task(name="flaky", bind=True, max_retries=3, shared=False)
        def flaky(self: Any, good_at: int) -> int:
            log.append(self.request.retries)
            if self.request.retries < good_at:
                raise self.retry(exc=LookupError("again"), countdown=60)
            return int(self.request.retries)

        @task(
            name="auto", bind=True, shared=False, autoretry_for=(LookupError,),
            retry_kwargs={"max_retries": 2},
        )  # fmt: skip
        def auto(self: Any) -> None:
            log.append(self.request.retries)
            raise LookupError("again")

        @task(name="about", bind=True, shared=False)
        def about(self: Any) -> list[Any]:
            request = self.request
            info = request.delivery_info or {}
            return [
                request.is_eager, request.called_directly, request.retries,
                request.parent_id, request.root_id == request.id, info.get("is_eager"),
                request.headers,
            ]  # fmt: skip

        @task(name="limits", bind=True, shared=False)
        def limits(self: Any) -> Any:
            return list(self.request.timelimit or ())

        @task(name="outer", bind=True, shared=False)
        def outer(self: Any) -> list[Any]:
            inner = about.delay().get()
            return [inner[:3], inner[3] == self.request.id, inner[4]]

        @task(name="replaced", bind=True, shared=False)
        def replaced(self: Any, n: int) -> Any:
            return self.replace(add.s(n, 1))

        @task(name="ignored", shared=False)
        def ignored() -> None:
            raise lib.Ignore()

        @task(name="rejected", shared=False)
        def rejected() -> None:
            raise lib.Reject("no")

        @task(name="stateful", bind=True, shared=False)
        def stateful(self: Any) -> str:
            self.update_state(state="PROGRESS", meta={"half": True})
            return "done"

        class Hooked(lib.app.Task):  # type: ignore[misc, name-defined]
            abstract = True

            def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
                log.append("before_start")

            def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
                log.append(("on_success", retval))

            def on_failure(self, exc: Any, *rest: Any) -> None:
                log.append(("on_failure", repr(exc)))

            def after_return(self, status: str, *rest: Any) -> None:
                log.append(("after_return", status))

        @task(name="hooked", base=Hooked, shared=False)
        def hooked(fail: bool) -> str:
            if fail:
                raise LookupError("as asked")
            return "well"

        self.__dict__.update({k: v for k, v in locals().items() if k not in ("self", "log")})


def end_of(call: Callable[[], Any]) -> Any:
    """Return what a call came to: state, value and traceback of a result, or what was raised."""
    try:
        result = call()
    except Exception as exc:
        return ["raised", type(exc).__name__, str(exc)]
    if not hasattr(result, "state"):
        return [type(result).__name__, [end_of(lambda one=one: one) for one in result.results]]
    traceback = result.traceback
    value = result.result
    return [
        result.state,
        repr(value) if isinstance(value, Exception) else value,
        traceback.strip().splitlines()[-1].rpartition(".")[2] if traceback else None,
        result.ready(),
        result.successful(),
        result.failed(),
    ]


def got(call: Callable[[], Any]) -> Any:
    """Return the value that `get` gives, or what was raised."""
    try:
        return call().get()
    except Exception as exc:
        return ["raised", type(exc).__name__, str(exc)]


def _signals(t: Tasks) -> list[Any]:
    seen: list[Any] = []

    def listener(name: str) -> Callable[..., None]:
        def note(sender: Any = None, **fields: Any) -> None:
            seen.append((name, sender.name, fields.get("state")))

        return note

    names = ("task_prerun", "task_postrun", "task_success", "task_failure", "task_retry")
    held = [(getattr(t.lib.signals, name), listener(name)) for name in names]
    for signal, receiver in held:
        signal.connect(receiver, weak=False)
    try:
        t.add.delay(1, 2)
        t.boom.delay()
        t.flaky.delay(1)
    finally:
        for signal, receiver in held:
            signal.disconnect(receiver)
    return seen


def _stored(t: Tasks) -> list[Any]:
    good, bad = t.add.apply_async((1, 2)), t.boom.apply_async()
    stored = [t.app.AsyncResult(one.id) for one in (good, bad)]
    return [stored[0].state, stored[0].result, stored[1].state, repr(stored[1].result)]


#: What is done in both libraries; each returns plain data.
CASES: dict[str, Callable[[Tasks], Any]] = {
    "a call": lambda t: end_of(lambda: t.add.delay(1, 2)),
    "apply": lambda t: end_of(lambda: t.add.apply((1, 2))),
    "a failure": lambda t: end_of(t.boom.delay),
    "a failure that is fetched": lambda t: got(t.boom.delay),
    "a failure fetched without propagation": lambda t: repr(t.boom.delay().get(propagate=False)),
    "apply that throws": lambda t: end_of(lambda: t.boom.apply(throw=True)),
    "retries": lambda t: [end_of(lambda: t.flaky.delay(2)), t.log],
    "retries used up": lambda t: [end_of(lambda: t.flaky.delay(9)), t.log],
    "apply with retries": lambda t: [end_of(lambda: t.flaky.apply((2,))), t.log],
    "autoretry": lambda t: [end_of(t.auto.delay), t.log],
    "the request": lambda t: t.about.delay().get(),
    "the request of apply": lambda t: t.about.apply().get(),
    "options in the request": lambda t: (
        t.about.apply_async(headers={"a": 1}, time_limit=9, soft_time_limit=8).get()
    ),
    "a call inside": lambda t: got(t.outer.delay),
    "a given id": lambda t: t.add.apply_async((1, 1), task_id="mine").id,
    "a link": lambda t: [got(lambda: t.add.apply_async((1, 1), link=t.note.s())), t.log],
    "an errback": lambda t: [end_of(lambda: t.boom.apply_async(link_error=t.note.s())), t.log],
    "a chain": lambda t: got(lambda: t.lib.chain(t.add.s(1, 1), t.add.s(2), t.add.s(3))()),
    "a chain of or": lambda t: got(lambda: (t.add.s(1, 1) | t.add.s(2)).delay()),
    "a chain with a failure": lambda t: got(
        lambda: t.lib.chain(t.add.s(1, 1), t.boom.s(), t.note.s()).delay()
    ),
    "what follows a failure": lambda t: [
        end_of(lambda: t.lib.chain(t.boom.s(), t.note.s()).delay())[0], t.log
    ],
    "a group": lambda t: got(lambda: t.lib.group(t.add.s(n, n) for n in range(3))()),
    "a group with a failure": lambda t: got(lambda: t.lib.group(t.add.s(1, 1), t.boom.s()).delay()),
    "a group without propagation": lambda t: [
        repr(one)
        for one in t.lib.group(t.add.s(1, 1), t.boom.s()).delay().get(propagate=False)
    ],
    "a chord": lambda t: got(lambda: t.lib.chord([t.add.s(n, n) for n in range(3)])(t.total.s())),
    "a chord in a chain": lambda t: got(
        lambda: (t.lib.group(t.add.s(1, 1), t.add.s(2, 2)) | t.total.s() | t.add.s(10)).delay()
    ),
    "a chord with a failure": lambda t: got(
        lambda: t.lib.chord([t.add.s(1, 1), t.boom.s()])(t.total.s())
    )[0],
    "a chain that ends in a group": lambda t: got(
        lambda: (t.add.s(1, 1) | t.lib.group(t.add.s(1), t.add.s(2))).delay()
    ),
    "chunks": lambda t: got(lambda: t.add.chunks(zip(range(4), range(4), strict=True), 2)()),
    "map": lambda t: got(lambda: t.total.map([[1, 2], [3]]).delay()),
    "starmap": lambda t: got(lambda: t.add.starmap([(1, 2), (3, 4)]).delay()),
    "a replacement": lambda t: got(lambda: t.replaced.delay(4)),
    "a replacement in apply": lambda t: got(lambda: t.replaced.apply((4,))),
    "the limits in the request": lambda t: t.limits.apply_async(time_limit=9).get(),
    "a task that ignores itself": lambda t: end_of(t.ignored.delay),
    "a task that rejects itself": lambda t: end_of(t.rejected.delay),
    "a state of its own": lambda t: end_of(t.stateful.delay),
    "hooks": lambda t: [end_of(lambda: t.hooked.delay(False)), t.log],
    "hooks of a failure": lambda t: [end_of(lambda: t.hooked.delay(True)), t.log],
    "signals": _signals,
    "countdown and queue": lambda t: end_of(
        lambda: t.add.apply_async((1, 2), countdown=60, queue="far", priority=3)
    ),
    "nothing is stored": lambda t: t.app.AsyncResult(t.add.delay(1, 1).id).state,
    "forget and revoke": lambda t: [t.add.delay(1, 1).forget(), t.add.delay(1, 1).revoke()],
    "wrong arguments": lambda t: end_of(lambda: t.add.delay(1))[:2],
    "calling it": lambda t: t.add(1, 2),
    "ignore_result": lambda t: end_of(lambda: t.add.apply_async((1, 2), ignore_result=True)),
}  # fmt: skip

PROPAGATED = [
    "a call", "a failure", "retries", "retries used up", "autoretry", "a chain with a failure",
    "a group with a failure", "a chord with a failure", "an errback", "a task that ignores itself",
    "a task that rejects itself", "a call inside", "signals", "hooks of a failure",
]  # fmt: skip


#: Where ours comes to something else on purpose; what it is is checked too.
DIFFERENT: dict[str, Any] = {
    # Celery forbids the wait, though what is waited for has run by then.
    "a call inside": [[True, False, 0], True, False],
    "a replacement": 5,
    # Celery tells no limits; in a worker both do.
    "the limits in the request": [9, None],
    # Celery gives a traceback to what has not failed.
    "a task that ignores itself": ["IGNORED", "Ignore()", None, True, False, False],
    "a task that rejects itself": [
        "REJECTED", "reject requeue=False: no", None, True, False, False
    ],
}  # fmt: skip
#: The same, with task_eager_propagates: Celery then calls neither hooks nor errbacks.
DIFFERENT_PROPAGATED: dict[str, Any] = {
    **DIFFERENT,
    "an errback": [["raised", "LookupError", "no such thing"], [("note", 3, [])]],
    "hooks of a failure": [
        ["raised", "LookupError", "as asked"],
        ["before_start", ("on_failure", "LookupError('as asked')"), ("after_return", "FAILURE")],
    ],
}


Both = Callable[..., tuple[Any, Any]]


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    """What a case comes to in Celery and in ours, by its name; apps are made once."""
    made: dict[Any, Tasks] = {}

    def tasks(make: Any, settings: dict[str, Any]) -> Tasks:
        key = (make, *settings.items())
        if key not in made:
            made[key] = Tasks(make(**settings))
            made[key].app.finalize()
        return made[key]

    def ends(name: str, **settings: Any) -> tuple[Any, Any]:
        found = []
        for make in (_celerys, _ours):
            one = tasks(make, settings)
            one.log.clear()
            one.app.set_current()
            try:
                found.append(CASES[name](one))
            except Exception as exc:
                found.append(["broke", type(exc).__name__, str(exc)])
        return found[0], found[1]

    before = current.get_app(make=False)
    yield ends
    for one in made.values():
        one.app.close()
    current.set_app(before)


@pytest.mark.filterwarnings("ignore:Results are not stored:RuntimeWarning")
@pytest.mark.parametrize("name", CASES)
def test_an_eager_call_comes_to_the_same(both: Both, name: str) -> None:
    theirs, ours = both(name)

    assert ours == DIFFERENT.get(name, theirs)
    assert (ours != theirs) == (name in DIFFERENT)


@pytest.mark.parametrize("name", PROPAGATED)
def test_it_does_so_with_task_eager_propagates(both: Both, name: str) -> None:
    theirs, ours = both(name, task_eager_propagates=True)

    assert ours == DIFFERENT_PROPAGATED.get(name, theirs)
    assert (ours != theirs) == (name in DIFFERENT_PROPAGATED)


def test_eager_results_are_stored_where_that_is_asked_for(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CASES, "stored", _stored)

    theirs, ours = both("stored", task_store_eager_result=True)

    assert ours == theirs
