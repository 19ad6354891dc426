"""Every serializer through every compression, from each side to the other, on the real wire.

One worker of each kind, one queue for each: Celery's client sends to ours, ours to Celery's.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import celery
import pytest
import redis

import taskctl
from taskctl.core.wire.compression import COMPRESSIONS

from ..support.products import Product
from ..support.servers import RedisServer

ACCEPT = ["json", "pickle", "application/x-yaml", "msgpack"]
PROJECT = """\
from {module} import Celery

app = Celery("proj", broker={url!r}, backend={url!r})
app.conf.update(accept_content={accept!r}, task_default_queue={queue!r})

@app.task(name="proj.add")
def add(x, y):
    return x + y

@app.task(name="proj.echo")
def echo(*args, **kwargs):
    return {{"seen": repr((args, kwargs)), "back": [args, kwargs]}}

@app.task(name="proj.about", bind=True)
def about(self, *args):
    request = self.request
    names = "shadow argsrepr kwargsrepr stamped_headers stamps origin timelimit priority".split()
    return {{"headers": request.headers, **{{name: request.get(name) for name in names}}}}
"""
MODULES = {"theirs": "celery", "ours": "taskctl"}


class Side:
    """A client on one side of the wire, and the queue of the worker on the other."""

    def __init__(self, app: Any, queue: str) -> None:
        self.app, self.queue = app, queue

    def send(self, name: str, *args: Any, options: Any = (), **kwargs: Any) -> Any:
        return self.app.send_task(f"proj.{name}", args, kwargs, queue=self.queue, **dict(options))


@pytest.fixture(scope="module")
def url(redis_server: RedisServer) -> str:
    url = redis_server.url.removesuffix("/0") + "/59"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory, url: str) -> Iterator[dict[str, Side]]:
    """The clients of both, with a worker of each kind at work."""
    folder = tmp_path_factory.mktemp("both")
    products = {name: Product(folder / name, module, url) for name, module in MODULES.items()}
    for name, product in products.items():
        text = PROJECT.format(module=product.program, url=url, queue=name, accept=ACCEPT)
        (product.folder / "proj.py").write_text(text)
    common = {"broker": url, "backend": url, "set_as_current": False}
    clients = {"theirs": celery.Celery("client", **common), "ours": taskctl.App("client", **common)}
    try:
        with ThreadPoolExecutor() as pool:
            line = "taskctl -A proj worker -c 1 -l INFO -n {}@h -Q {}"
            list(pool.map(lambda n: products[n].start(line.format(n, n)), products))
        for client in clients.values():
            client.conf.accept_content = ACCEPT
        yield {
            "celery to taskctl": Side(clients["theirs"], "ours"),
            "taskctl to celery": Side(clients["ours"], "theirs"),
        }
    finally:
        for product in products.values():
            product.close()
        for client in clients.values():
            client.close()


DIRECTIONS = ["celery to taskctl", "taskctl to celery"]


@pytest.fixture(params=DIRECTIONS)
def side(request: pytest.FixtureRequest, sides: dict[str, Side]) -> Side:
    return sides[request.param]


PLAIN = [None, True, -1, 2**53, 1.5, "ü\u2028\U0001f600", "", [1, [2]], {"a": {"b": []}}]
TIMES = [
    datetime(2030, 1, 2, 3, 4, 5, 678900, tzinfo=UTC),
    datetime(2030, 1, 2, 3, 4, 5),
    date(2030, 1, 2),
]
EXTENDED = [
    *PLAIN,
    *TIMES,
    datetime(2030, 1, 2, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
    time(3, 4, 5),
    UUID("12345678-1234-5678-1234-567812345678"),
    Decimal("1.10"),
    b"abc",
    b"\xff\x00",
    10**30,
    float("inf"),
]
#: What each serializer can carry in a message.
ARGUMENTS = {
    "json": EXTENDED,
    "pickle": [*EXTENDED, (1, (2,)), {1, 2}, 3j],
    "yaml": [*PLAIN, *TIMES, b"\xff\x00", 10**30],
    "msgpack": [*PLAIN, b"abc", b"\xff\x00"],
}


@pytest.mark.parametrize("compression", [None, *sorted(COMPRESSIONS)])
@pytest.mark.parametrize("serializer", ARGUMENTS)
def test_arguments_arrive_as_they_were(
    side: Side, serializer: str, compression: str | None
) -> None:
    # A result is written in JSON here, whatever the message was written in.
    args = [value for value in ARGUMENTS[serializer] if not isinstance(value, set | complex)]
    kwargs = {"deep": {"x": [1]}, "when": None if serializer == "msgpack" else TIMES[0]}
    options = {"serializer": serializer, "compression": compression}

    answer = side.send("echo", *args, options=options, **kwargs).get(timeout=30)

    assert answer["seen"] == repr((tuple(args), kwargs))
    assert answer["back"] == [plain(args), kwargs]


def test_a_pickle_carries_what_no_other_can(side: Side) -> None:
    result = side.send("about", {1, 2}, 3j, (4,), options={"serializer": "pickle"})

    assert result.get(timeout=30)["argsrepr"] == "({1, 2}, 3j, (4,))"


@pytest.mark.parametrize("name", ["application/json", "application/x-python-serialize"])
def test_a_serializer_may_be_named_by_its_content_type(sides: dict[str, Side], name: str) -> None:
    side = sides["taskctl to celery"]

    assert side.send("add", 1, 2, options={"serializer": name}).get(timeout=30) == 3


@pytest.mark.parametrize(
    ("direction", "serializer"),
    [(d, s) for d in DIRECTIONS for s in ARGUMENTS if (d, s) != (DIRECTIONS[0], "yaml")],
)
def test_links_and_chains_travel_in_every_serializer(
    sides: dict[str, Side], direction: str, serializer: str
) -> None:
    # But for Celery's in YAML, which it refuses to write.
    side = sides[direction]
    module: Any = celery if side.queue == "ours" else taskctl
    add = side.app.signature("proj.add", options={"queue": side.queue})
    linked = str(uuid4())
    steps = module.chain(add.clone((1, 2)), add.clone((3,)), add.clone((4,)), app=side.app)

    chained = steps.apply_async(serializer=serializer)
    callback = add.clone((10,), task_id=linked)
    side.send("add", 1, 1, options={"serializer": serializer, "link": callback})

    assert chained.get(timeout=30) == 10
    assert side.app.AsyncResult(linked).get(timeout=30) == 12


def test_headers_stamps_and_texts_arrive(side: Side) -> None:
    options = {
        "headers": {"x-tenant": "acme", "trace": {"id": [7, None]}},
        "shadow": "pretty",
        "argsrepr": "(<hidden>)",
        "kwargsrepr": "{<hidden>}",
        "stamped_headers": ["tenant", "tags"],
        "tenant": "acme",
        "tags": ["a", "b"],
        "time_limit": 30,
        "soft_time_limit": 20,
    }

    about = side.send("about", 1, options=options).get(timeout=30)

    assert about["shadow"] == "pretty"
    assert (about["argsrepr"], about["kwargsrepr"]) == ("(<hidden>)", "{<hidden>}")
    assert about["stamped_headers"] == ["tenant", "tags"]
    assert about["stamps"] == {"tenant": "acme", "tags": ["a", "b"]}
    assert about["timelimit"] == [30, 20]
    assert about["origin"].startswith("gen")
    for name, value in options["headers"].items():  # type: ignore[attr-defined]
        assert about["headers"][name] == value


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
@pytest.mark.parametrize("compression", [None, "zlib", "zstd", "brotli", "bzip2", "lzma"])
@pytest.mark.parametrize("serializer", ARGUMENTS)
def test_results_are_read_on_the_other_side(
    url: str, serializer: str, compression: str | None
) -> None:
    value = ARGUMENTS[serializer]
    settings = {
        "result_serializer": serializer,
        "result_accept_content": ACCEPT,
        "result_compression": compression,
    }
    theirs = celery.Celery("results", backend=url, set_as_current=False)
    ours = taskctl.App("results", backend=url, broker=url, set_as_current=False)
    theirs.conf.update(settings)
    ours.conf.update(settings)
    ids = [str(uuid4()) for _ in range(4)]

    theirs.backend.store_result(ids[0], value, "SUCCESS")
    theirs.backend.store_result(ids[1], ValueError("boom", 42), "FAILURE", traceback="there")
    writer = taskctl.core.tasks.metas.MetaWriter(ours)
    context = taskctl.core.tasks.context.Context
    ours.backend.store(
        [
            writer.write(context({"id": ids[2]}), "SUCCESS", value),
            writer.write(context({"id": ids[3]}), "FAILURE", ValueError("boom", 42), "here"),
        ]
    )

    try:
        expected = value if serializer == "pickle" else plain(value)
        assert ours.AsyncResult(ids[0]).get(timeout=10) == expected
        assert theirs.AsyncResult(ids[2]).get(timeout=10) == expected
        for app, task_id in ((ours, ids[1]), (theirs, ids[3])):
            with pytest.raises(ValueError, match="boom") as caught:
                app.AsyncResult(task_id).get(timeout=10)  # type: ignore[attr-defined]
            assert caught.value.args == ("boom", 42)
    finally:
        ours.close()
        theirs.close()


def plain(value: Any) -> Any:
    """Return what comes back of a value in any serializer but pickle."""
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
