"""Messages that a worker cannot understand, of every kind: one clear line, and a dead letter.

Nothing here knows the broker: a new one joins by its name in `farm_of_json`.
"""

from __future__ import annotations

import base64
import bz2
import json
import lzma
import pickle
import zlib
from collections.abc import Iterator
from typing import Any

import brotli
import pytest
import redis
import yaml

from taskctl.core.wire import codecs
from taskctl.core.wire.message import Publication

from ..support.servers import RedisServer
from ..support.waiting import eventually
from ..support.workers import Farm

#: Bytes that a compressed body may become in these workers.
LARGEST = 1 << 20
BODY = b'[["key"], {}, {}]'
ZEROS = b"0" * (2 * LARGEST)


@pytest.fixture(scope="module", params=["sqlite", "redis", "rabbitmq"])
def farm_of_json(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Farm]:
    """A farm with one node that takes JSON alone."""
    folder = tmp_path_factory.mktemp("json")
    results = url = f"sqlite:///{folder}/queue.db"
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        results = url = server.url.removesuffix("/0") + "/60"
        with redis.Redis.from_url(url) as client:
            client.flushdb()
    elif request.param == "rabbitmq":
        url = request.getfixturevalue("rabbitmq_control").new_vhost()
    farm = Farm(folder, url, result_backend=results, task_max_decompressed_size=LARGEST)
    farm.start(task_events=True).ready()
    yield farm
    farm.close()
    if request.param == "rabbitmq":
        request.getfixturevalue("rabbitmq_control").drop_vhost(url)


def message(
    body: bytes | str = BODY,
    content_type: str | None = "application/json",
    *,
    properties: Any = (),
    encoding: str | None = "utf-8",
    raw_headers: Any = None,
    **headers: Any,
) -> bytes:
    """Return a task message as another program may have written it."""
    return json.dumps(
        {
            "body": base64.b64encode(body).decode() if isinstance(body, bytes) else body,
            "content-encoding": encoding,
            "content-type": content_type,
            "headers": {"lang": "py", "task": "trial.mark", "id": "bad", **headers}
            if raw_headers is None
            else raw_headers,
            "properties": {
                "delivery_info": {"exchange": "", "routing_key": "celery"},
                "delivery_tag": "tag-of-bad",
                "body_encoding": "base64",
                "priority": 0,
                **dict(properties),
            },
        }
    ).encode()


def protocol_1(**fields: Any) -> bytes:
    return message(json.dumps(fields).encode(), raw_headers={})


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def zstd(data: bytes) -> bytes:
    return codecs.compress(data, "zstd")[1]


#: What is wrong -> the message, and a word of the line about it.
CASES: dict[str, tuple[bytes, str]] = {
    # what was not agreed on
    "pickle": (
        message(pickle.dumps((["key"], {}, {})), "application/x-python-serialize"),
        "'application/x-python-serialize': not in accept_content",
    ),
    "yaml": (message(yaml.safe_dump([["key"], {}, {}]).encode(), "application/x-yaml"), "x-yaml"),
    "an unknown type": (message(content_type="application/x-novel"), "application/x-novel"),
    "plain text": (message(content_type="text/plain"), "text/plain"),
    "raw bytes": (message(content_type="application/data", encoding="binary"), "task body is"),
    "no type": (message(content_type=None, encoding=None), "task body is"),
    # what cannot be decoded
    "no JSON": (message(b"{{{"), "body is not application/json"),
    "an empty body": (message(b""), "body is not application/json"),
    "not base64": (message("%%%"), "not base64"),
    "not UTF-8": (message(b'[["\xff"], {}, {}]'), "body is not application/json"),
    "a body that is a number": (
        message().replace(base64.b64encode(BODY), b"x").replace(b'"x"', b"5"),
        "int",
    ),
    "an unheard-of encoding": (
        message("text", encoding="utf-999", properties={"body_encoding": None}),
        "utf-999",
    ),
    "a type of extended JSON from the future": (
        message(b'[[{"__type__": "quaternion", "__value__": 1}], {}, {}]'),
        "quaternion",
    ),
    "a date that is none": (
        message(b'[[{"__type__": "date", "__value__": "tomorrow"}], {}, {}]'),
        "tomorrow",
    ),
    "an integer of 5000 digits": (message(b"[[1" + b"0" * 5000 + b"], {}, {}]"), "application/js"),
    "a nest that is never closed": (message(b"[" * 100_000), "application/json"),
    "a nest of 50000 lists": (message(b"[[" + nested(50_000) + b"], {}, {}]"), "application/json"),
    # what is compressed
    "an unknown compression": (message(compression="application/x-rar"), "application/x-rar"),
    "a compression that is a number": (message(compression=5), "compression"),
    "no zlib": (message(compression="application/x-gzip"), "application/x-gzip"),
    "zlib cut short": (
        message(zlib.compress(BODY)[:-4], compression="application/x-gzip"),
        "application/x-gzip",
    ),
    "bzip2 cut short": (message(bz2.compress(BODY)[:-4], compression="bzip2"), "bzip2"),
    "xz cut short": (message(lzma.compress(BODY)[:-4], compression="lzma"), "lzma"),
    "zstd cut short": (message(zstd(BODY)[:-4], compression="application/zstd"), "zstd"),
    "brotli cut short": (
        message(brotli.compress(BODY)[:-4], compression="application/x-brotli"),
        "brotli",
    ),
    "a zlib bomb": (message(zlib.compress(ZEROS), compression="gzip"), "task_max_decompressed"),
    "a bzip2 bomb": (message(bz2.compress(ZEROS), compression="bzip2"), "task_max_decompressed"),
    "an xz bomb": (message(lzma.compress(ZEROS), compression="xz"), "task_max_decompressed"),
    "a zstd bomb": (message(zstd(ZEROS), compression="zstd"), "task_max_decompressed"),
    "a brotli bomb": (
        message(brotli.compress(ZEROS), compression="brotli"),
        "task_max_decompressed_size",
    ),
    # what has another shape
    "a body of four": (message(b"[[], {}, {}, {}]"), "newer protocol"),
    "a body that is text": (message(b'"text"'), "task body is str"),
    "arguments that are a number": (message(b"[5, {}, {}]"), "task args"),
    "keyword arguments that are a list": (message(b"[[], [1], {}]"), "task kwargs"),
    "an embed that is a list": (message(b"[[], {}, [1]]"), "task embed"),
    "callbacks that are no signatures": (message(b'[[], {}, {"callbacks": [1]}]'), "callbacks"),
    "no envelope": (b"\xff\x00", "not a message envelope"),
    "headers that are a list": (message(raw_headers=[1]), "headers"),
    "a nest in the envelope": (b'{"headers": ' + b"[" * 100_000, "not a message envelope"),
    "a nest in a stamp": (
        message(stamps={"x": 1}).replace(b'{"x": 1}', b'{"x": ' + nested(50_000) + b"}"),
        "not a message envelope",
    ),
    "a nest in an unknown header": (
        message(x=1).replace(b'"x": 1', b'"x": ' + nested(1_000_000)),
        "not a message envelope",
    ),
    "no task anywhere": (message(b"[1]", raw_headers={}), "no task header and no task in the body"),
    "no id": (message(raw_headers={"task": "trial.mark"}), "without an id"),
    "another protocol altogether": (
        message(b'{"method": "run"}', raw_headers={"v": 3, "call": "trial.mark"}),
        "unknown message",
    ),
    "protocol 1 in pickle": (
        message(
            pickle.dumps({"task": "trial.mark", "id": "1"}),
            "application/x-python-serialize",
            raw_headers={},
        ),
        "not in accept_content",
    ),
    "protocol 1 with arguments of the wrong type": (
        protocol_1(task="trial.mark", id="1", args=5),
        "task args",
    ),
    "protocol 1 with an id of the wrong type": (protocol_1(task="trial.mark", id=5), "id"),
    "a protocol 1 bomb": (
        message(zlib.compress(ZEROS), raw_headers={"compression": "gzip"}),
        "task_max_decompressed_size",
    ),
    # headers of the wrong type
    "a name that is a number": (message(task=5), "task"),
    "an id that is a number": (message(id=5), "id"),
    "an id that is no text": (message(id="\ud800"), "surrogate"),
    "retries that are text": (message(retries="many"), "retries"),
    "retries beyond all integers": (message(retries=10**400), "retries"),
    "retries below zero": (message(retries=-1), "retries"),
    "limits that are text": (message(timelimit=["a", "b"]), "timelimit"),
    "a limit below zero": (message(timelimit=[-5, None]), "timelimit"),
    "a limit that is no number": (message(timelimit=[float("nan"), None]), "timelimit"),
    "stamps that are a list": (message(stamps=[1]), "stamps"),
    "names of stamps that are text": (message(stamped_headers="tenant"), "stamped_headers"),
    "delivery_info that is text": (message(properties={"delivery_info": "x"}), "delivery_info"),
    "a priority that is text": (message(properties={"priority": "high"}), "priority"),
    # times
    "an eta in words": (message(eta="soon"), "soon"),
    "an eta beyond all years": (message(eta="99999-01-01T00:00:00"), "99999-01-01"),
    "an eta that is a number": (message(eta=17), "eta"),
    "an expires in words": (message(expires="never"), "never"),
    "an expires of month 13": (message(expires="2030-13-01T00:00:00+00:00"), "2030-13-01"),
}


#: What only an envelope can say: AMQP has other words for it, or types that forbid it.
OF_ENVELOPES = {
    "not base64",
    "a body that is a number",
    "an unheard-of encoding",
    "no envelope",
    "headers that are a list",
    "a nest in the envelope",
    "a nest in a stamp",
    "a nest in an unknown header",
    "an id that is no text",
    "retries beyond all integers",
    "a limit that is no number",
    "delivery_info that is text",
    "a priority that is text",
}


def put(farm: Farm, *envelopes: bytes) -> None:
    with farm.app.connection() as connection:
        connection.publish(
            [Publication(exchange="", routing_key="celery", envelope=e) for e in envelopes]
        )


def buried(farm: Farm) -> list[dict[str, Any]]:
    """Return the facts of every burial."""
    with farm.app.connection() as connection:
        letters = connection.broker.peek("celery.dead", 1000)
    return [json.loads(letter)["headers"]["taskctl-dead"] for letter in letters]


def test_each_gives_one_clear_line_and_a_dead_letter_with_its_reason(farm_of_json: Farm) -> None:
    farm = farm_of_json
    farm.forget()
    (node,) = farm.nodes
    good = [farm.send("add", n, 1) for n in range(5)]
    cases = CASES
    if farm.url.startswith("amqp"):
        cases = {name: case for name, case in CASES.items() if name not in OF_ENVELOPES}

    put(farm, *(raw for raw, _ in cases.values()))
    good += [farm.send("add", n, 1) for n in range(5, 10)]

    assert [result.get(timeout=30) for result in good] == list(range(1, 11))
    reasons = eventually(lambda: len(found := buried(farm)) >= len(cases) and found, within=30)
    assert {facts["reason"] for facts in reasons} == {"malformed"}
    assert len(reasons) == len(cases)
    lines = [line for line in node.log.splitlines() if " ERROR " in line]
    for name, (_, word) in cases.items():
        assert any(word in line and "dead-letter queue" in line for line in lines), name
        assert any(word in facts["detail"] for facts in reasons), name
    assert len(lines) == len(cases), "\n".join(lines)
    assert "Traceback" not in node.log
    assert farm.runs() == {}
    assert node.process.poll() is None
    eventually(lambda: farm.size() == farm.unacked() == 0)


def test_what_is_strange_but_can_be_understood_runs(farm_of_json: Farm) -> None:
    farm = farm_of_json
    farm.forget()
    strange = {
        "unknown headers": message(b'[["a"], {}, {}]', future=[{"deep": 1}], novel=None),
        "another language": message(b'[["b"], {}, {}]', lang="js"),
        "an embed of the future": message(b'[["c"], {}, {"on_timeout": [], "chain": null}]'),
        "no embed": message(b'[["d"], {}, null]'),
        "unknown properties": message(b'[["e"], {}, {}]', properties={"hue": "red"}),
        "only task and id": message(
            b'[["f"], {}, {}]', raw_headers={"task": "trial.mark", "id": "f"}
        ),
        "a hybrid": message(
            b'{"args": ["g"], "kwargs": {}, "retries": 1}',
            raw_headers={"task": "trial.mark", "id": "g"},
        ),
        "protocol 1": protocol_1(task="trial.mark", id="h", args=["h"]),
        "gzip as others have it": message(
            _gzip(b'[["i"], {}, {}]'),
            compression="gzip",
        ),
        "text that is not base64": message('[["j"], {}, {}]', properties={"body_encoding": None}),
        "a nest of 100 lists": message(b'[["k"], {"seconds": 0.0}, {"x": ' + nested(100) + b"}]"),
    }

    put(farm, *strange.values())

    eventually(lambda: set(farm.runs()) == set("abcdefghijk"), within=30)
    assert buried(farm) == []


def _gzip(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(data) + packer.flush()
