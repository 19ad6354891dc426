"""The rows of the matrix: what a client does, and what must come of it."""

from __future__ import annotations

import datetime
import decimal
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .api import Api


@dataclass(frozen=True)
class Case:
    """One row.  `beyond` names brokers on which Celery itself, on both sides, cannot: why."""

    name: str
    run: Callable[[Api], None]
    beyond: dict[str, str] = field(default_factory=dict)


CASES: list[Case] = []


def case(
    name: str, beyond: dict[str, str] | None = None
) -> Callable[[Callable[[Api], None]], Callable[[Api], None]]:
    """Enter a function as a row."""

    def enter(run: Callable[[Api], None]) -> Callable[[Api], None]:
        CASES.append(Case(name, run, beyond or {}))
        return run

    return enter


# --- calls ------------------------------------------------------------------------------------


@case("plain call")
def plain(api: Api) -> None:
    assert api.get(api.add.delay(2, 3)) == 5


@case("call by name, keyword arguments")
def by_name(api: Api) -> None:
    sent = api.app.send_task("mx.echo", (1,), {"b": [2, {"c": None}]})
    assert api.get(sent) == [[1], {"b": [2, {"c": None}]}]


AWARE = datetime.datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)
VALUES: list[Any] = [
    None,
    True,
    -(2**70),
    1.5,
    "käse ✓ \U0001f600",
    [1, [2, {"k": "v"}]],
    {"a": {"b": []}},
    AWARE,
    datetime.datetime(2030, 1, 2, 3, 4, 5),
    AWARE.astimezone(datetime.timezone(datetime.timedelta(hours=5, minutes=30))),
    datetime.date(2030, 1, 2),
    datetime.time(3, 4, 5),
    decimal.Decimal("1.10"),
    uuid.UUID(int=7),
    b"text",
    b"\xff\x00\xfe",
]


@case("all types of arguments and results, JSON")
def types(api: Api) -> None:
    seen = [api.describe.delay(value) for value in VALUES]
    back = [api.echo.delay(value) for value in VALUES]

    assert [api.get(one) for one in seen] == [f"{type(v).__name__} {v!r}" for v in VALUES]
    assert [api.get(one)[0][0] for one in back] == VALUES


@case("request as the task sees it")
def request(api: Api) -> None:
    sent = api.request.apply_async(
        (1, "two"), shadow="other", time_limit=30, soft_time_limit=20, argsrepr="(hidden)"
    )
    seen = api.get(sent)

    assert seen["id"] == seen["root_id"] == seen["correlation_id"] == sent.id
    assert (seen["parent_id"], seen["group"], seen["retries"]) == (None, None, 0)
    assert (seen["exchange"], seen["routing_key"]) == ("", "celery")
    assert (seen["shadow"], seen["argsrepr"]) == ("other", "(hidden)")
    assert seen["timelimit"] == [30, 20] and seen["origin"]


@case("custom headers")
def headers(api: Api) -> None:
    seen = api.get(api.request.apply_async(headers={"x-trace": "abc", "n": 3}))
    assert (seen["headers"]["x-trace"], seen["headers"]["n"]) == ("abc", 3)


@case("task id of one's own")
def own_id(api: Api) -> None:
    name = api.key()
    sent = api.add.apply_async((1, 1), task_id=name)
    assert sent.id == name and api.get(sent) == 2


@case("countdown")
def countdown(api: Api) -> None:
    key, sent = api.key(), time.time()
    api.get(api.note.apply_async((1, key), countdown=1.0))
    assert api.times(key)[0] - sent >= 0.95


@case("eta with an offset")
def eta(api: Api) -> None:
    key, sent = api.key(), time.time()
    zone = datetime.timezone(datetime.timedelta(hours=-3))
    api.get(api.note.apply_async((1, key), eta=datetime.datetime.now(zone) + SECOND))
    assert api.times(key)[0] - sent >= 0.95


SECOND = datetime.timedelta(seconds=1)


@case("expires while it waits")
def expires(api: Api) -> None:
    path, let_go = api.gate()
    held = [api.hold.delay(path) for _ in range(2)]
    api.until(lambda: all(one.state == "STARTED" for one in held))
    late = api.add.apply_async((1, 1), countdown=1.5, expires=1.0)
    let_go()
    assert api.error(late) == "TaskRevokedError('expired',)"


@case("result ignored by the task")
def quiet(api: Api) -> None:
    key = api.key()
    sent = api.quiet.delay(key)
    api.marks(key)
    assert api.get(api.add.delay(1, 1)) == 2
    assert sent.state == "PENDING"


@case("result ignored by the call")
def ignored(api: Api) -> None:
    key = api.key()
    sent = api.note.apply_async((1, key), ignore_result=True)
    api.marks(key)
    assert api.get(api.add.delay(1, 1)) == 2
    assert sent.state == "PENDING"


# --- ends -------------------------------------------------------------------------------------


@case("failure: exception and traceback")
def failure(api: Api) -> None:
    sent = api.boom.delay()
    assert api.error(sent) == "ValueError('boom', 42)"
    assert sent.state == "FAILURE" and "ValueError" in sent.traceback


@case("failure: exception of the project")
def custom(api: Api) -> None:
    assert api.error(api.custom.delay()) == "CustomError('own', 1)"


@case("unregistered task")
def unknown(api: Api) -> None:
    sent = api.app.send_task("mx.nowhere")
    assert api.error(sent) == "NotRegistered('mx.nowhere',)"


@case("custom state")
def progress(api: Api) -> None:
    path, let_go = api.gate()
    sent = api.progress.delay(path)
    api.until(lambda: sent.state == "PROGRESS")
    assert sent.info == {"done": 3}
    let_go()
    assert api.get(sent) == "done"


@case("started state")
def started(api: Api) -> None:
    path, let_go = api.gate()
    sent = api.hold.delay(path)
    api.until(lambda: sent.state == "STARTED")
    assert set(sent.info) == {"pid", "hostname"}
    let_go()
    assert api.get(sent) == "let go"


@case("retry")
def retry(api: Api) -> None:
    assert api.get(api.retry.delay(2)) == 2


@case("retries used up")
def used_up(api: Api) -> None:
    assert api.error(api.retry.delay(9)) == "CustomError('not yet',)"


@case("retry by itself")
def auto(api: Api) -> None:
    assert api.error(api.auto.delay()) == "CustomError('again', 2)"


@case("ignore")
def ignore(api: Api) -> None:
    key = api.key()
    sent = api.ignore.delay(key)
    api.marks(key)
    assert api.get(api.add.delay(1, 1)) == 2
    assert sent.state in ("PENDING", "STARTED")


@case("reject without requeue")
def reject(api: Api) -> None:
    key = api.key()
    sent = api.reject.delay(key)
    api.until(lambda: sent.state == "FAILURE")
    assert api.marks(key) == [None]


@case("soft time limit")
def soft(api: Api) -> None:
    sent = api.sleep.apply_async((30,), soft_time_limit=1)
    assert api.error(sent).startswith("SoftTimeLimitExceeded(")


@case("hard time limit")
def hard(api: Api) -> None:
    sent = api.sleep.apply_async((30,), time_limit=1)
    assert api.error(sent) == "TimeLimitExceeded(1,)"


# --- links and canvas ---------------------------------------------------------------------------


@case("link")
def link(api: Api) -> None:
    key = api.key()
    api.add.apply_async((2, 2), link=api.note.s(key))
    assert api.marks(key) == [4]


@case("several links")
def links(api: Api) -> None:
    one, two = api.key(), api.key()
    api.add.apply_async((2, 2), link=[api.note.s(one), api.note.s(two)])
    assert (api.marks(one), api.marks(two)) == ([4], [4])


@case("link_error, told the id")
def link_error(api: Api) -> None:
    key = api.key()
    sent = api.boom.apply_async(link_error=api.signature("mx.note_error", args=(key,)))
    assert api.marks(key) == [sent.id]


@case("link_error, told request and exception")
def link_error_new(api: Api) -> None:
    key = api.key()
    link = api.note_error_new.s(key=key)
    sent = api.boom.apply_async(link_error=link)
    assert api.marks(key) == [[sent.id, "ValueError('boom', 42)"]]


@case("chain")
def chain(api: Api) -> None:
    last = api.chain(api.add.s(1, 2), api.add.s(3), api.add.si(5, 5), api.add.s(1))()
    assert api.get(last) == 11
    assert [api.get(last.parent), api.get(last.parent.parent)] == [10, 6]


@case("error in a chain")
def chain_error(api: Api) -> None:
    last = api.chain(api.add.s(1, 2), api.boom.s(), api.add.s(1))()
    assert api.error(last.parent) == api.error(last) == "ValueError('boom', 42)"


@case("lineage of a chain")
def lineage(api: Api) -> None:
    last = api.chain(api.request.s(), api.request.s())()
    seen = api.get(last)
    assert (seen["parent_id"], seen["root_id"]) == (last.parent.id, last.parent.id)


@case("group")
def group(api: Api) -> None:
    sent = api.group(api.add.s(each, each) for each in range(8))()
    assert api.get(sent) == [0, 2, 4, 6, 8, 10, 12, 14]


@case("group saved and restored")
def saved(api: Api) -> None:
    sent = api.group(api.add.s(each, 1) for each in range(3))()
    sent.save()
    again = api.lib.result.GroupResult.restore(sent.id, app=api.app)
    assert api.get(again) == [1, 2, 3]


@case("group of chains")
def chains(api: Api) -> None:
    sent = api.group(api.chain(api.add.s(each, 1), api.add.s(10)) for each in range(3))()
    assert api.get(sent) == [11, 12, 13]


@case("chain that ends in a group")
def chain_group(api: Api) -> None:
    sent = api.chain(api.add.s(1, 1), api.group(api.add.s(1), api.add.s(2)))()
    assert api.get(sent) == [3, 4]


@case("map, starmap, chunks")
def maps(api: Api) -> None:
    assert api.get(api.total.map([[1, 2], [3, 4]]).delay()) == [3, 7]
    assert api.get(api.add.starmap([(1, 2), (3, 4)]).delay()) == [3, 7]
    assert api.get(api.add.chunks([(1, 1), (2, 2), (3, 3)], 2)()) == [[2, 4], [6]]


@case("chord")
def chord(api: Api) -> None:
    sent = api.chord((api.add.s(each, each) for each in range(10)), api.total.s())()
    assert api.get(sent) == 90


@case("group and task in a chain")
def upgrade(api: Api) -> None:
    whole = api.group(api.add.s(1, 1), api.add.s(2, 2)) | api.total.s() | api.add.s(100)
    assert api.get(whole.delay()) == 106


@case("chord later in a chain")
def chord_in_chain(api: Api) -> None:
    members = api.group(api.add.s(1), api.add.s(2), api.add.s(3))
    assert api.get(api.chain(api.add.s(1, 1), members, api.total.s())()) == 12


@case("chord with chains in its header")
def chord_chains(api: Api) -> None:
    header = [api.chain(api.add.s(each, 1), api.add.s(10)) for each in range(3)]
    assert api.get(api.chord(header, api.total.s())()) == 36


@case("nested chord")
def nested(api: Api) -> None:
    inner = api.chord([api.add.s(1, 1), api.add.s(2, 2)], api.total.s())
    assert api.get(api.chord([inner, api.add.s(10, 10)], api.total.s())()) == 26


@case("chord with a group in its header")
def chord_group(api: Api) -> None:
    header = [api.group(api.add.s(1, 1), api.add.s(2, 2)), api.add.s(3, 3)]
    assert api.get(api.chord(header, api.total.s())()) == 12


@case("chord with a chain as body")
def chord_body(api: Api) -> None:
    body = api.chain(api.total.s(), api.add.s(1), api.add.s(2))
    assert api.get(api.chord([api.add.s(1, 1), api.add.s(2, 2)], body)()) == 9


@case("error in a chord")
def chord_error(api: Api) -> None:
    key = api.key()
    body = api.total.s().on_error(api.signature("mx.note_error", args=(key,)))
    header = [api.add.s(1, 1), api.boom.s(), api.add.s(2, 2)]
    sent = api.chord(header, body)()
    said = api.error(sent)
    assert said.startswith("ChordError(") and "raised ValueError('boom', 42)" in said
    assert api.marks(key) == [sent.id]


@case("replace")
def replace(api: Api) -> None:
    assert api.get(api.replace.delay(2, 3)) == 5


@case("replace by a chain, in a chain")
def replace_chain(api: Api) -> None:
    assert api.get(api.chain(api.replace_chain.s(1), api.add.s(100))()) == 112


@case("replace by a group")
def replace_group(api: Api) -> None:
    assert api.get(api.replace_group.delay(3)) == [0, 2, 4]


@case("replace in a chord")
def replace_chord(api: Api) -> None:
    header = [api.replace.s(1, 1), api.add.s(2, 2)]
    assert api.get(api.chord(header, api.total.s())()) == 6


@case("chord that grows")
def grows(api: Api) -> None:
    sent = api.chord([api.expand.s(1), api.add.s(2, 2)], api.total.s())()
    assert api.get(sent) == 106


@case("children")
def children(api: Api) -> None:
    sent = api.spawn.delay(3)
    assert api.get(sent) == 3
    assert sorted(api.get(child) for child in sent.children) == [0, 2, 4]


@case("stamps")
def stamps(api: Api) -> None:
    first = api.request.s()
    first.stamp(team="red", ticket=7)
    seen = api.get(first.apply_async())
    assert seen["stamped_headers"] == ["team", "ticket"]
    assert seen["stamps"] == {"team": "red", "ticket": 7}


@case("stamps along a chain")
def stamped_chain(api: Api) -> None:
    whole = api.chain(api.add.s(1, 1), api.request.s())
    whole.stamp(team="red")
    seen = api.get(whole.apply_async())
    assert (seen["stamped_headers"], seen["stamps"]) == (["team"], {"team": "red"})


# --- control ------------------------------------------------------------------------------------


def held(api: Api) -> tuple[list[Any], Callable[[], None]]:
    """Keep both children of the worker busy."""
    path, let_go = api.gate()
    sent = [api.hold.delay(path) for _ in range(2)]
    api.until(lambda: all(one.state == "STARTED" for one in sent))
    return sent, let_go


@case("revoke what runs")
def revoke_running(api: Api) -> None:
    sent, let_go = held(api)
    sent[0].revoke(terminate=True, signal="SIGKILL")
    assert api.error(sent[0]) == "TaskRevokedError('terminated',)"
    let_go()
    assert api.get(sent[1]) == "let go"


@case("revoke what waits")
def revoke_waiting(api: Api) -> None:
    sent, let_go = held(api)
    waiting = api.add.delay(1, 1)
    api.app.control.revoke(waiting.id, reply=True, timeout=5, limit=1)
    let_go()
    assert api.error(waiting) == "TaskRevokedError('revoked',)"
    assert [api.get(one) for one in sent] == ["let go"] * 2


@case("revoke by stamp")
def revoke_stamped(api: Api) -> None:
    sent, let_go = held(api)
    name = api.key()
    waiting = api.add.s(1, 1)
    waiting.stamp(order=name)
    waiting = waiting.apply_async()
    api.app.control.revoke_by_stamped_headers({"order": [name]}, reply=True, timeout=5, limit=1)
    let_go()
    assert api.error(waiting) == "TaskRevokedError('revoked',)"
    assert [api.get(one) for one in sent] == ["let go"] * 2


@case("rate limit")
def rate_limit(api: Api) -> None:
    key = api.key()
    control = api.app.control
    control.rate_limit("mx.limited", "2/s", destination=["main@matrix"], reply=True, timeout=5)
    try:
        for _ in range(4):
            api.limited.delay(key)
        api.marks(key, 4)
    finally:
        control.rate_limit("mx.limited", 0, destination=["main@matrix"], reply=True, timeout=5)
    times = api.times(key)
    assert times[-1] - times[0] >= 0.9


# --- routing ------------------------------------------------------------------------------------


@case("routing by topic")
def topic(api: Api) -> None:
    sent = api.request.apply_async(queue="video", routing_key="media.video.new")
    seen = api.get(sent)
    assert (seen["exchange"], seen["routing_key"]) == ("matrix.media", "media.video.new")


@case("priorities")
def priorities(api: Api) -> None:
    key = api.key()
    api.start_ranks()
    path, let_go = api.gate()
    first = api.hold.apply_async((path,), queue="ranks")
    api.until(lambda: first.state == "STARTED")
    top, low = (9, 0) if api.broker == "rabbitmq" else (0, 9)
    # A worker may hold one more than it runs: the first is of the rank that comes first anyway.
    for rank in (top, 3, 6, top, low):
        api.note.apply_async((rank, key), queue="ranks", priority=rank)
    if api.broker == "rabbitmq":  # Celery does not wait until the broker has what it sent
        api.until(lambda: api.waiting("ranks") >= 4)
    let_go()
    order = [top, top, 6, 3, low] if api.broker == "rabbitmq" else [top, top, 3, 6, low]
    assert api.marks(key, 5) == order


# --- serializers and compression ------------------------------------------------------------------


def serialized(serializer: str) -> Callable[[Api], None]:
    def run(api: Api) -> None:
        sent = api.echo.apply_async((1, "ü"), {"k": [1.5, None]}, serializer=serializer)
        assert api.get(sent) == [[1, "ü"], {"k": [1.5, None]}]

    return run


def compressed(compression: str) -> Callable[[Api], None]:
    def run(api: Api) -> None:
        text = "long " * 500
        assert api.get(api.echo.apply_async((text,), compression=compression)) == [[text], {}]

    return run


for each in ("json", "pickle", "yaml", "msgpack"):
    case(f"serializer {each}")(serialized(each))
for each in ("gzip", "bzip2", "lzma", "zstd", "brotli"):
    case(f"compression {each}")(compressed(each))


@case("pickled signatures")
def pickled_chain(api: Api) -> None:
    whole = api.chain(api.add.s(1, 1), api.add.s(2), api.add.s(3))
    assert api.get(whole.apply_async(serializer="pickle")) == 7
