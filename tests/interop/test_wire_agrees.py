"""What the wire room writes means the same to Celery, and what Celery writes to us."""

from __future__ import annotations

import json
import pickle
from typing import Any
from uuid import uuid4

import celery
import celery.backends.cache
import celery.canvas
import celery.exceptions
import celery.states
import pytest

from taskctl.core import errors
from taskctl.core.wire import codecs, states
from taskctl.core.wire.result_meta import decode_meta, encode_meta


class TestPickles:
    def test_celerys_signatures_are_read_as_dicts(self) -> None:
        theirs = celery.canvas.signature("proj.add", (2,), options={"queue": "q"})

        ours = codecs.decode(pickle.dumps([theirs]), "application/x-python-serialize", "binary")

        assert type(ours[0]) is dict
        assert (ours[0]["task"], ours[0]["args"]) == ("proj.add", (2,))

    def test_signatures_are_written_as_celerys(self) -> None:
        class Signature(dict):  # type: ignore[type-arg]
            pass

        ours = Signature(
            task="proj.add", args=[2], kwargs={}, options={}, subtask_type=None, immutable=False
        )

        theirs = pickle.loads(codecs.encode([ours], "pickle")[2])[0]

        assert type(theirs) is celery.canvas.Signature
        assert theirs["task"] == "proj.add"

    @pytest.mark.parametrize("name", ["TaskRevokedError", "ChordError", "SoftTimeLimitExceeded"])
    def test_our_errors_are_celerys_on_the_other_side_and_back(self, name: str) -> None:
        ours = codecs.encode(getattr(errors, name)("x"), "pickle")[2]
        theirs = pickle.loads(ours)

        assert type(theirs) is getattr(celery.exceptions, name)
        assert theirs.args == ("x",)
        for data in (ours, pickle.dumps(theirs)):
            again = codecs.decode(data, "application/x-python-serialize", "binary")
            assert type(again) is getattr(errors, name)


@pytest.mark.parametrize(
    "name", ["READY_STATES", "UNREADY_STATES", "EXCEPTION_STATES", "PROPAGATE_STATES"]
)
def test_the_sets_are_celerys(name: str) -> None:
    assert getattr(states, name) == getattr(celery.states, name)


@pytest.mark.parametrize("state", [*sorted(celery.states.ALL_STATES), "PROGRESS"])
def test_precedence_is_celerys(state: str) -> None:
    assert states.precedence(state) == celery.states.precedence(state)


class Custom(Exception):
    class Inner(Exception):
        pass


def celerys_backend(serializer: str, **settings: Any) -> Any:
    app = celery.Celery("proj", set_as_current=False)
    app.conf.update(result_serializer=serializer, accept_content=["json", "pickle"], **settings)
    return celery.backends.cache.CacheBackend(app=app, url="memory://")


def as_bytes(stored: Any) -> bytes:
    return stored.encode() if isinstance(stored, str) else bytes(stored)


EXCEPTIONS = [
    ValueError("boom", 42),
    KeyError("x"),
    Custom("a", {"b": [1]}),
    Custom.Inner("deep"),
    errors.TaskRevokedError("revoked"),
    errors.NotRegistered("proj.unknown"),
    errors.ChordError("Dependency 1 raised ValueError()"),
    errors.TimeLimitExceeded(5),
    errors.SoftTimeLimitExceeded(),
    errors.WorkerLostError("child 5 killed by SIGKILL"),
    errors.Reject("no thanks", False),
    errors.MaxRetriesExceededError("enough"),
    errors.Terminated(15),
]


@pytest.mark.parametrize("serializer", ["json", "pickle"])
@pytest.mark.parametrize("exc", EXCEPTIONS, ids=lambda exc: type(exc).__name__)
class TestExceptions:
    def test_celery_raises_what_we_stored(self, exc: Exception, serializer: str) -> None:
        ours = encode_meta(task_id="a", state="FAILURE", result=exc, serializer=serializer)

        backend = celerys_backend(serializer)
        theirs = backend.meta_from_decoded(backend.decode(ours))["result"]

        assert type(theirs).__name__ == type(exc).__name__
        assert tuple(theirs.args) == exc.args
        if isinstance(exc, errors.TaskctlError):
            assert type(theirs) is not type(exc)
            assert type(theirs).__module__ in ("celery.exceptions", "billiard.exceptions")
        else:
            assert type(theirs) is type(exc)

    def test_we_raise_what_celery_stored(self, exc: Exception, serializer: str) -> None:
        theirs = exc
        if isinstance(exc, errors.TaskctlError):
            theirs = getattr(celery.exceptions, type(exc).__name__)(*exc.args)
        backend, task_id = celerys_backend(serializer), str(uuid4())
        backend.store_result(task_id, theirs, "FAILURE")
        stored = backend.get(backend.get_key_for_task(task_id))

        ours = decode_meta(as_bytes(stored), serializer)["result"]

        assert type(ours) is type(exc)
        assert ours.args == exc.args


@pytest.mark.parametrize("compression", ["zlib", "bzip2", "lzma"])
def test_compressed_results_are_read_on_both_sides(compression: str) -> None:
    ours = encode_meta(task_id="a", state="SUCCESS", result="x" * 500, compression=compression)
    backend = celerys_backend("json")

    assert backend.decode(ours)["result"] == "x" * 500

    assert len(ours) < 200


def test_an_exception_that_cannot_be_pickled_comes_through_from_celery() -> None:
    class Local(Exception):
        pass

    backend = celerys_backend("pickle")
    theirs = pickle.dumps(
        {"task_id": "a", "status": "FAILURE", "result": backend.prepare_exception(Local("x"))}
    )

    ours = decode_meta(theirs, "pickle")["result"]

    assert type(ours).__name__ == "Local"
    assert ours.args == ("x",)


def test_our_meta_has_the_fields_of_celerys() -> None:
    backend = celerys_backend("json")
    task_id = str(uuid4())
    backend.store_result(task_id, 5, "SUCCESS")

    theirs = json.loads(backend.get(backend.get_key_for_task(task_id)))

    ours = json.loads(encode_meta(task_id="a", state="SUCCESS", result=5))
    assert list(ours) == list(theirs)
