"""What follows a task of a large workflow is kept once, and messages only refer to it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from taskctl import App, chain, chord, group
from taskctl.core import current
from taskctl.core.backends.memory import MemoryBackend
from taskctl.core.errors import BackendError, ChordError, WorkerLostError
from taskctl.core.messaging.producer import gather
from taskctl.core.tasks import references
from taskctl.core.tasks.execute import failure_followers
from taskctl.core.tasks.references import REFERENCE
from taskctl.core.wire.message import decode_envelope
from tests.support.draining import drain


class Proj:
    """An app with a few tasks, and the sizes of all its messages beyond their arguments."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.seen: list[Any] = []
        self.sizes: list[int] = []
        self.add = app.task(_add, name="ref.add")
        self.total = app.task(lambda values: sum(values) % 1000, name="ref.total")
        self.echo = app.task(lambda x: x, name="ref.echo")
        self.fail = app.task(lambda *args: 1 / 0, name="ref.fail")
        self.heard = app.task(lambda task_id: self.seen.append(task_id), name="ref.heard")
        broker = app.shared_connection().broker
        publish = broker.publish

        def measured(publications: Any, *more: Any, **options: Any) -> Any:
            self.sizes += [_beyond_arguments(one.envelope) for one in publications]
            return publish(publications, *more, **options)

        broker.publish = measured  # type: ignore[method-assign]

    def steps(self, *middle: Any, count: int = 8) -> list[Any]:
        """Return the steps of a chain that is too long for a message, and adds to a number."""
        half = [self.add.s(1)] * count
        return [self.echo.s(0), *half, *middle, *half]

    def run(self, sent: Any) -> Any:
        drain(self.app)
        return sent.get(timeout=1)

    @property
    def kept(self) -> dict[str, tuple[bytes, float]]:
        """What the backend keeps, with its end."""
        found: dict[str, tuple[bytes, float]] = self.app.backend._store.steps
        return found

    def kept_longest(self) -> float:
        """Return for how many seconds anything is kept from now on."""
        return max((end for _, end in self.kept.values()), default=0.0) - time.monotonic()


def _add(x: Any, y: int) -> int:
    return (sum(x) if isinstance(x, list) else x) + y


def _beyond_arguments(envelope: bytes) -> int:
    args, kwargs, _ = json.loads(decode_envelope(envelope).body)
    # Base64 makes four of three; what argsrepr shows of them is bounded.
    return len(envelope) - len(json.dumps([args, kwargs])) * 4 // 3


@pytest.fixture
def proj() -> Iterator[Proj]:
    before = current.get_app(make=False)
    name = str(uuid4())
    with App("ref", broker=f"memory://{name}", backend=f"memory://{name}") as app:
        yield Proj(app)
    current.set_app(before)


def chords(proj: Proj, count: int, width: int) -> Any:
    """Return a chain of chords."""
    steps: list[Any] = []
    for number in range(count):
        first = proj.add.s(1) if number else proj.add.s(0, 1)
        steps += [group(first for _ in range(width)), proj.total.s()]
    return chain(*steps)


def value_of_chords(count: int, width: int) -> int:
    value = 0
    for _ in range(count):
        value = (value + 1) * width % 1000
    return value


def test_a_chain_of_20_chords_of_100_is_cheap(proj: Proj) -> None:
    made = chords(proj, 20, 100)
    began = time.process_time()

    sent = made.delay()

    assert time.process_time() - began < 1
    assert len(proj.sizes) == 100
    assert proj.run(sent) == value_of_chords(20, 100)
    assert len(proj.sizes) == 20 * 101
    assert max(proj.sizes) <= 4096


@pytest.mark.parametrize(
    "shape", ["chain", "chord bodies", "header of chains", "nested", "group as body", "linked"]
)
def test_no_message_of_a_large_workflow_is_large(proj: Proj, shape: str) -> None:
    add, total, echo = proj.add, proj.total, proj.echo
    many = [add.s(0, 1) for _ in range(50)]
    long = chain(*[add.s(1)] * 50)
    made, expected = {
        "chain": (lambda: echo.s(0) | long, 50),
        "chord bodies": (lambda: chord(many, total.s() | group([add.s(1)] * 50) | total.s()), 550),
        "header of chains": (lambda: chord([echo.s(0) | long] * 5, total.s()), 250),
        "nested": (lambda: chord([chord(many, total.s() | long)] * 3, total.s()), 300),
        "group as body": (lambda: chord(many, group([total.s()] * 50)), [50] * 50),
        "linked": (lambda: echo.s(0) | long | group([echo.s()] * 50) | total.s(), 500),
    }[shape]

    assert proj.run(made().delay()) == expected
    assert max(proj.sizes) <= 4096


def test_a_small_workflow_is_in_its_messages(proj: Proj) -> None:
    sent = (proj.echo.s(1) | group(proj.add.s(1), proj.add.s(2)) | proj.total.s()).delay()

    assert proj.run(sent) == 5
    assert proj.kept == {}


@pytest.mark.parametrize("wanted", ["auto", False])
def test_where_celerys_workers_may_read_everything_is_in_the_messages(wanted: Any) -> None:
    with App("mixed", broker="redis://localhost:1", set_as_current=False) as app:
        app.conf.result_backend = f"memory://{uuid4()}"
        app.conf.task_workflow_references = wanted
        add = app.task(lambda x, y: x + y, name="mixed.add")
        with gather() as publications:
            chain(add.s(1, 1), *[add.s(1)] * 30).delay()

    _, _, embed = json.loads(decode_envelope(publications[0].envelope).body)
    assert [step["task"] for step in embed["chain"]] == ["mixed.add"] * 30


def test_on_other_brokers_references_are_sent_if_the_setting_says_so() -> None:
    with App("alone", broker="redis://localhost:1", set_as_current=False) as app:
        app.conf.result_backend = f"memory://{uuid4()}"
        app.conf.task_workflow_references = True
        add = app.task(lambda x, y: x + y, name="alone.add")
        with gather() as publications:
            chain(add.s(1, 1), *[add.s(1)] * 30).delay()

    _, _, embed = json.loads(decode_envelope(publications[0].envelope).body)
    assert [step["task"] for step in embed["chain"]] == [REFERENCE]


def test_what_was_kept_goes_when_the_workflow_has_ended(proj: Proj) -> None:
    body = group([proj.total.s()] * 40)
    sent = (chain(*proj.steps()) | chord([proj.echo.s()] * 2, body)).delay()
    assert proj.kept_longest() > 29 * 86400

    assert proj.run(sent) == [32] * 40

    assert len(proj.kept) > 1
    assert proj.kept_longest() <= 3600


def test_how_long_a_workflow_may_take_is_a_setting(proj: Proj) -> None:
    proj.app.conf.result_workflow_expires = 120

    chain(*proj.steps()).delay()

    assert 100 < proj.kept_longest() <= 120


@pytest.mark.parametrize("where", ["chain", "chord"])
def test_a_failure_reaches_all_that_was_kept(proj: Proj, where: str) -> None:
    if where == "chain":
        made: Any = chain(*proj.steps(proj.fail.s()))
    else:
        made = chord([proj.fail.s(), proj.echo.s(1)], chain(proj.total.s(), *proj.steps()[1:]))
    made.link_error(proj.heard.s())

    sent = made.delay()
    drain(proj.app)

    error, count = (ZeroDivisionError, 9) if where == "chain" else (ChordError, 17)
    result = sent
    for _ in range(count):
        assert isinstance(result.result, error)
        result = result.parent
    assert len(proj.seen) == 1
    assert proj.kept_longest() <= 3600


def test_a_part_that_is_the_end_of_a_kept_chain_ends_its_chord(proj: Proj) -> None:
    header = [chain(*proj.steps(proj.fail.s())), proj.echo.s(1)]

    sent = chord(header, proj.total.s()).delay()
    drain(proj.app)

    assert isinstance(sent.result, ChordError)


def test_a_replaced_task_goes_on_with_what_was_kept(proj: Proj) -> None:
    @proj.app.task(name="ref.replaced", bind=True)
    def replaced(self: Any, value: int) -> Any:
        return self.replace(chain(proj.add.s(value, 100), *[proj.add.s(1)] * 20))

    sent = chain(*proj.steps(replaced.s())).delay()

    assert proj.run(sent) == 8 + 100 + 20 + 8
    assert max(proj.sizes) <= 4096


def test_a_task_may_add_a_step_before_what_was_kept(proj: Proj) -> None:
    @proj.app.task(name="ref.insert", bind=True)
    def insert(self: Any, value: int) -> int:
        self.request.chain.append(proj.add.s(1000))
        return value

    assert proj.run(chain(*proj.steps(insert.s())).delay()) == 1016


def test_a_retry_keeps_what_follows(proj: Proj) -> None:
    @proj.app.task(name="ref.again", bind=True)
    def again(self: Any, value: int) -> int:
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return value

    assert proj.run(chain(*proj.steps(again.s())).delay()) == 16


def test_a_message_that_comes_again_finds_what_follows_it(proj: Proj) -> None:
    with gather() as publications:
        sent = chain(*proj.steps()).delay()
    broker = proj.app.shared_connection().broker
    broker.publish(publications)
    assert proj.run(sent) == 16

    broker.publish(publications)

    assert [outcome.kind for outcome in drain(proj.app)] == ["succeeded"] * 17


def test_steps_that_are_gone_fail_the_task_before_them_and_say_why(proj: Proj) -> None:
    sent = chain(*proj.steps()).delay()
    proj.kept.clear()

    drain(proj.app)

    result = sent
    while result.parent is not None:
        result = result.parent
    assert "the rest of the workflow" in str(result.result)
    assert "result_workflow_expires" in str(sent.result)


def test_a_body_that_is_gone_fails_the_chord(proj: Proj) -> None:
    body = chain(proj.total.s(), *proj.steps()[1:])
    sent = chord([proj.echo.s(1), proj.echo.s(2)], body).delay()
    proj.kept.clear()

    drain(proj.app)

    assert isinstance(sent.result, ChordError)
    assert "no longer in the result backend" in str(sent.result)


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """While this is not empty, steps cannot be read."""
    state: list[bool] = []
    load = MemoryBackend.load_steps

    def load_steps(self: MemoryBackend, ids: Any) -> dict[str, bytes]:
        if state:
            raise BackendError("gone fishing")
        return load(self, ids)

    monkeypatch.setattr(MemoryBackend, "load_steps", load_steps)
    monkeypatch.setattr(references, "PATIENCE", 0.01)
    return state


def test_a_task_whose_steps_cannot_be_read_now_is_run_again(proj: Proj, away: list[bool]) -> None:
    away.append(True)
    with gather() as publications:
        sent = chain(*proj.steps()).delay()
    broker = proj.app.shared_connection().broker
    broker.publish(publications)
    (outcome,) = drain(proj.app)
    assert (outcome.kind, outcome.requeue, outcome.results) == ("rejected", True, [])

    away.clear()
    broker.publish(publications)

    assert proj.run(sent) == 16


def test_a_task_that_was_acked_before_it_ran_fails_then(proj: Proj, away: list[bool]) -> None:
    proj.echo.acks_late = False
    away.append(True)
    chain(*proj.steps()).delay()

    (outcome,) = drain(proj.app)

    assert outcome.kind == "failed"
    assert b"gone fishing" in outcome.results[0].meta


def test_a_workers_parent_does_not_wait_for_steps(proj: Proj, away: list[bool]) -> None:
    with gather() as publications:
        chain(*proj.steps()).delay()
    away.append(True)
    references.PATIENCE = 60.0
    began = time.monotonic()

    with pytest.raises(BackendError, match="gone fishing"):
        failure_followers(proj.app, publications[0].envelope, WorkerLostError("lost"))

    assert time.monotonic() - began < 30
    away.clear()
    after = failure_followers(proj.app, publications[0].envelope, WorkerLostError("lost"))
    assert len(after.results) == 16
