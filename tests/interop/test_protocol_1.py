"""A client of Celery's that writes protocol 1 is served by our worker: links, chains and times."""

from __future__ import annotations

import base64
import json
import pickle
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import celery
import pytest
import redis

from ..support.products import Product
from ..support.servers import RedisServer

#: Far from UTC, and without summer time.
ZONE = "Asia/Tokyo"
PROJECT = """\
from taskctl import App

app = App("proj", broker={url!r}, backend={url!r}, accept_content=["json", "pickle"])

@app.task(name="proj.add")
def add(x, y):
    return x + y

@app.task(name="proj.mul")
def mul(x, y):
    return x * y

@app.task(name="proj.fail")
def fail():
    raise ValueError("boom")

@app.task(name="proj.note")
def note(failed_id):
    return failed_id

@app.task(name="proj.again", bind=True, max_retries=2)
def again(self, link_me):
    if self.request.retries < 1:
        raise self.retry(countdown=0)
    return [link_me, self.request.retries]

@app.task(name="proj.about", bind=True)
def about(self, *args, **kwargs):
    names = "id group group_index retries timelimit root_id reply_to eta expires".split()
    return {{name: self.request.get(name) for name in names}}
"""


@pytest.fixture(scope="module")
def url(redis_server: RedisServer) -> str:
    url = redis_server.url.removesuffix("/0") + "/58"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory, url: str) -> Iterator[Product]:
    product = Product(tmp_path_factory.mktemp("old") / "ours", "taskctl", url)
    (product.folder / "proj.py").write_text(PROJECT.format(url=url))
    product.env["TZ"] = ZONE
    try:
        product.start("taskctl -A proj worker -c 2 -l INFO -n old@h")
        yield product
        with redis.Redis.from_url(url) as server:
            assert server.llen("celery.dead") == 0
    finally:
        product.close()


@pytest.fixture
def client(worker: Product, url: str) -> Iterator[celery.Celery]:
    app = celery.Celery("old", broker=url, backend=url, set_as_current=False)
    app.conf.update(task_protocol=1, accept_content=["json", "pickle"])
    yield app
    app.close()


Send = Callable[..., Any]


@pytest.fixture(params=["json", "pickle"])
def send(client: celery.Celery, request: pytest.FixtureRequest) -> Send:
    """Sends a task by name, in each serializer of the time of protocol 1."""

    def send(name: str, *args: Any, **options: Any) -> Any:
        options = {"serializer": request.param, **options}
        return client.send_task(f"proj.{name}", args, options.pop("kwargs", None), **options)

    return send


def test_a_call_runs_and_answers(send: Send) -> None:
    assert send("add", 2, kwargs={"y": 3}).get(timeout=30) == 5


@pytest.mark.parametrize("compression", ["zlib", "bzip2"])
def test_a_compressed_call_runs(send: Send, compression: str) -> None:
    assert send("add", "x" * 500, "y", compression=compression).get(timeout=30) == "x" * 500 + "y"


def test_links_run_with_the_result_before_their_arguments(
    client: celery.Celery, send: Send
) -> None:
    ids = [str(uuid4()) for _ in range(3)]
    mul, add = (client.signature(f"proj.{name}") for name in ("mul", "add"))
    nested = mul.clone((10,), task_id=ids[0], link=add.clone((1,), task_id=ids[1]))
    second = add.clone((100,), task_id=ids[2])

    send("add", 2, 3, link=[nested, second])

    values = [client.AsyncResult(task_id).get(timeout=30) for task_id in ids]
    assert values == [50, 51, 105]


def test_a_failure_calls_what_link_error_names(client: celery.Celery, send: Send) -> None:
    noted = str(uuid4())

    failed = send("fail", link_error=client.signature("proj.note", task_id=noted))

    with pytest.raises(ValueError, match="boom"):
        failed.get(timeout=30)
    assert client.AsyncResult(noted).get(timeout=30) == failed.id


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_a_chain_goes_as_nested_links(client: celery.Celery, serializer: str) -> None:
    mul, add = (client.signature(f"proj.{name}") for name in ("mul", "add"))
    steps = celery.chain(add.clone((1, 2)), mul.clone((3,)), add.clone((4,)), app=client)

    last = steps.apply_async(serializer=serializer)

    assert last.get(timeout=30) == 13
    assert (last.parent.get(timeout=30), last.parent.parent.get(timeout=30)) == (9, 3)


def test_a_group_bears_its_id_as_taskset(client: celery.Celery) -> None:
    about = client.signature("proj.about")

    result = celery.group([about.clone((n,)) for n in range(3)], app=client).apply_async()

    members = result.get(timeout=30)
    assert {one["group"] for one in members} == {result.id}
    assert [one["id"] for one in members] == [one.id for one in result.results]


def test_a_retry_goes_on_in_protocol_2_and_calls_the_links(
    client: celery.Celery, send: Send
) -> None:
    linked = str(uuid4())

    first = send("again", "x", link=client.signature("proj.note", task_id=linked))

    assert first.get(timeout=30) == ["x", 1]
    assert client.AsyncResult(linked).get(timeout=30) == ["x", 1]


def test_what_the_body_says_of_the_call_is_known_to_the_task(send: Send) -> None:
    about = send("about", retries=2, time_limit=30, soft_time_limit=20, expires=60).get(timeout=30)

    assert (about["retries"], about["timelimit"]) == (2, [30, 20])
    assert about["root_id"] == about["id"]
    assert about["expires"] is not None


def test_a_countdown_is_waited_for(send: Send) -> None:
    begun = time.time()

    assert send("add", 1, 1, countdown=0.5).get(timeout=30) == 2

    assert time.time() - begun >= 0.5


def test_what_has_expired_is_revoked(send: Send) -> None:
    result = send("add", 1, 1, expires=-10)

    with pytest.raises(celery.exceptions.TaskRevokedError, match="expired"):
        result.get(timeout=30)


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_a_time_that_is_not_utc_is_that_of_the_workers_machine(
    client: celery.Celery, url: str, serializer: str
) -> None:
    # Read as UTC it would be nine hours ahead.
    eta = datetime.now(ZoneInfo(ZONE)).replace(tzinfo=None) + timedelta(seconds=0.5)
    task_id = str(uuid4())
    fields = {"task": "proj.add", "id": task_id, "args": [1, 2], "utc": False}
    fields["eta"] = eta.isoformat()
    body = json.dumps(fields).encode() if serializer == "json" else pickle.dumps(fields, 2)
    kinds = {"json": "application/json", "pickle": "application/x-python-serialize"}
    envelope = {
        "body": base64.b64encode(body).decode(),
        "content-type": kinds[serializer],
        "content-encoding": "utf-8",
        "headers": {},
        "properties": {
            "body_encoding": "base64",
            "delivery_tag": task_id,
            "delivery_info": {"exchange": "", "routing_key": "celery"},
        },
    }
    with redis.Redis.from_url(url) as server:
        server.lpush("celery", json.dumps(envelope))

    assert client.AsyncResult(task_id).get(timeout=30) == 3
