"""How a call is written: by its own option, by its task, or by a setting, in this order."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from taskctl import App
from taskctl.core.errors import EncodeError, ImproperlyConfigured
from taskctl.core.messaging.producer import gather
from taskctl.core.settings_checks import CONTENT_TYPES, find_problems
from taskctl.core.wire import codecs
from taskctl.core.wire.message import Message, decode_envelope

PICKLE = "application/x-python-serialize"


@pytest.fixture
def app() -> Iterator[App]:
    with App("encoding", broker="memory://encoding", set_as_current=False) as app:
        yield app


def sent(call: Any) -> Message:
    """Return the one message that a call sends."""
    with gather() as publications:
        call()
    (publication,) = publications
    return decode_envelope(publication.envelope)


@pytest.mark.parametrize("name", ["pickle", PICKLE])
def test_the_serializer_is_the_calls_the_tasks_or_the_settings(app: App, name: str) -> None:
    app.conf.task_serializer = name
    plain = app.task(lambda: None, name="plain", shared=False)
    own = app.task(lambda: None, name="own", shared=False, serializer="msgpack")

    assert sent(plain.delay).content_type == PICKLE
    assert sent(own.delay).content_type == "application/x-msgpack"
    assert sent(lambda: own.apply_async(serializer="application/x-yaml")).content_type == (
        "application/x-yaml"
    )


@pytest.mark.parametrize("name", ["zstd", "application/zstd"])
def test_the_compression_is_the_calls_the_tasks_or_the_settings(app: App, name: str) -> None:
    app.conf.task_compression = name
    plain = app.task(lambda: None, name="plain", shared=False)
    own = app.task(lambda: None, name="own", shared=False, compression="bzip2")

    assert sent(plain.delay).headers["compression"] == "application/zstd"
    assert sent(own.delay).headers["compression"] == "application/x-bz2"
    call = sent(lambda: own.apply_async(compression="application/x-brotli"))
    assert call.headers["compression"] == "application/x-brotli"
    assert codecs.decompress(call.body, "brotli").startswith(b"[[]")


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"serializer": "jsno"}, ImproperlyConfigured, "unknown serializer 'jsno': choose json"),
        ({"compression": "rar"}, ImproperlyConfigured, "unknown compression 'rar': choose zlib"),
        ({"serializer": "yaml", "args": [1j]}, EncodeError, "cannot be sent as yaml"),
        ({"serializer": "msgpack", "args": [{1}]}, EncodeError, "msgpack cannot hold set"),
        ({"serializer": "raw", "args": [b"x"]}, EncodeError, "cannot encode as raw"),
    ],
)
def test_what_cannot_be_written_is_said_to_the_caller(
    app: App, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        app.send_task("t", **options)


@pytest.mark.parametrize(("name", "module"), [("brotli", "brotli"), ("yaml", "yaml")])
def test_a_package_that_is_missing_is_named_to_the_caller(
    app: App, name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "brotlicffi", None)
    option = "serializer" if name in codecs.CODECS else "compression"

    with pytest.raises(ImproperlyConfigured, match=rf"pip install taskctl\[{name}\]"):
        app.send_task("t", **{option: name})


def test_a_pickled_signature_reads_as_celerys_whatever_is_installed(app: App) -> None:
    add = app.task(lambda x: x, name="add", shared=False)

    message = sent(lambda: add.apply_async((1,), link=add.s(2), serializer="pickle"))

    assert b"celery.canvas" in message.body
    assert codecs.decode(message.body, PICKLE, "binary")[2]["callbacks"][0]["task"] == "add"


def test_a_setting_may_say_a_name_and_another_the_type_of_it() -> None:
    for name, content_type in CONTENT_TYPES.items():
        for chosen, accepted in ((name, content_type), (content_type, name)):
            app = App(
                set_as_current=False,
                task_serializer=chosen,
                result_serializer=chosen,
                accept_content=[accepted],
            )
            assert [p for p in find_problems(app.conf, {}) if "serializer" in p.key] == []
    app = App(set_as_current=False, task_serializer=PICKLE, accept_content=["json"])
    assert [p.key for p in find_problems(app.conf, {})] == ["task_serializer"]


def test_the_types_that_checks_know_are_those_of_the_wire() -> None:
    wire = {name: codec.content_type for name, codec in codecs.CODECS.items()}

    assert wire == CONTENT_TYPES
