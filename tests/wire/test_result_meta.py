"""Result metas are Celery's, byte for byte, and exceptions come back as what they were."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctl.core import errors
from taskctl.core.wire.result_meta import (
    decode_exception,
    decode_meta,
    encode_exception,
    encode_meta,
    result_tuple,
    says_success,
)

from . import captures, values

FIRST = ("status", "result", "traceback", "children", "date_done", "group_id", "parent_id")


class Outer:
    class InnerError(Exception):
        pass

    not_an_exception = print


class PickyError(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__(code)


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def encoded_again(meta: dict[str, Any]) -> bytes:
    done = meta["date_done"]
    return encode_meta(
        task_id=meta["task_id"],
        state=meta["status"],
        result=meta["result"],
        traceback=meta["traceback"],
        children=meta["children"],
        date_done=datetime.fromisoformat(done) if done else None,
        group_id=meta.get("group_id"),
        parent_id=meta.get("parent_id"),
        extended={k: v for k, v in meta.items() if k not in (*FIRST, "task_id")},
    )


class TestMetas:
    @pytest.mark.parametrize("captured", captures.metas())
    def test_a_captured_meta_is_read_and_written_again_exactly(self, captured: Any) -> None:
        text = json.dumps(captured).encode()

        meta = decode_meta(text)

        assert isinstance(meta["result"], BaseException) == (
            captured["status"] in ("RETRY", "FAILURE", "REVOKED")
        )
        assert encoded_again(meta) == text

    @given(values.extended, st.sampled_from(["SUCCESS", "PROGRESS", "STARTED"]))
    def test_every_result_comes_back(self, result: Any, state: str) -> None:
        meta = decode_meta(encode_meta(task_id="a", state=state, result=result))

        assert (meta["status"], meta["result"], meta["task_id"]) == (state, result, "a")

    @pytest.mark.parametrize("serializer", ["json", "msgpack", "pickle"])
    def test_each_serializer_keeps_all_fields(self, serializer: str) -> None:
        data = encode_meta(
            task_id="a",
            state="SUCCESS",
            result=[1, None],
            children=[result_tuple("b"), result_tuple("c", result_tuple("p"))],
            date_done=datetime(2030, 1, 2, tzinfo=UTC),
            group_id="g",
            parent_id="p",
            serializer=serializer,
            extended={"name": "proj.add", "args": [2], "tenant": "acme"},
        )

        assert decode_meta(data, serializer) == {
            "status": "SUCCESS",
            "result": [1, None],
            "traceback": None,
            "children": [[["b", None], None], [["c", [["p", None], None]], None]],
            "date_done": "2030-01-02T00:00:00+00:00",
            "group_id": "g",
            "parent_id": "p",
            "name": "proj.add",
            "args": [2],
            "tenant": "acme",
            "task_id": "a",
        }

    def test_a_result_that_cannot_be_written_is_an_encode_error(self) -> None:
        with pytest.raises(errors.EncodeError, match="object is not JSON serializable"):
            encode_meta(task_id="a", state="SUCCESS", result=object())

    def test_a_compressed_meta_is_recognised_without_being_told(self) -> None:
        data = encode_meta(task_id="a", state="SUCCESS", result="x" * 500, compression="zlib")

        assert data.startswith(b"\x00celery-compressed\x00application/x-gzip\x00")
        assert decode_meta(data)["result"] == "x" * 500

    def test_a_pickled_meta_is_refused_unless_pickle_is_accepted(self) -> None:
        data = encode_meta(task_id="a", state="SUCCESS", result=1, serializer="pickle")

        with pytest.raises(errors.ContentDisallowed, match="result_accept_content"):
            decode_meta(data)
        assert decode_meta(data, accept=["json", "pickle"])["result"] == 1

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"{}",
            b"[]",
            b"null",
            b"{",
            b'{"status": 5}',
            b"\xff",
            b"\x00celery-compressed\x00",
            b"\x00celery-compressed\x00application/x-gzip\x00nonsense",
            b"\x00celery-compressed\x00rar\x00x",
        ],
    )
    def test_what_is_no_meta_is_a_decode_error(self, data: bytes) -> None:
        with pytest.raises(errors.DecodeError):
            decode_meta(data)

    @given(st.binary(max_size=40))
    def test_any_bytes_are_a_meta_or_a_decode_error(self, data: bytes) -> None:
        with contextlib.suppress(errors.DecodeError, errors.ContentDisallowed):
            decode_meta(data)

    def test_fields_that_older_writers_leave_out_are_null(self) -> None:
        meta = decode_meta(b'{"status": "SUCCESS", "task_id": "a"}')

        assert (meta["result"], meta["traceback"], meta["children"]) == (None, None, None)

    def test_a_dict_given_as_the_meta_of_a_custom_state_stays_a_dict(self) -> None:
        fields = {"exc_type": "ValueError", "exc_message": ["x"], "exc_module": "builtins"}

        meta = decode_meta(encode_meta(task_id="a", state="PROGRESS", result=fields))

        assert meta["result"] == fields


class TestSuccess:
    @pytest.mark.parametrize("compression", [None, "zlib"])
    @pytest.mark.parametrize("serializer", ["json", "msgpack", "pickle"])
    @pytest.mark.parametrize("state", ["SUCCESS", "STARTED", "FAILURE", "RETRY"])
    def test_a_success_is_seen_in_every_form(
        self, state: str, serializer: str, compression: str | None
    ) -> None:
        data = encode_meta(
            task_id="a",
            state=state,
            result="SUCCESS",
            serializer=serializer,
            compression=compression,
        )

        assert says_success(data) is (state == "SUCCESS")

    @pytest.mark.parametrize(
        ("data", "seen"),
        [
            (b'{"task_id":"a","status":"SUCCESS"}', True),
            (b'{"status":"FAILURE","result":{"status":"SUCCESS"}}', False),
            (b'{"status": "SUCCESSFUL"}', False),
            (b"children: []\nstatus: SUCCESS\ntask_id: a\n", True),
            (b"children: []\nstatus: FAILURE\ntask_id: a\n", False),
            (b"{broken", False),
            (b"", False),
        ],
    )
    def test_other_writers_forms_are_judged_too(self, data: bytes, seen: bool) -> None:
        assert says_success(data) is seen


class TestExceptions:
    @pytest.mark.parametrize(
        ("exc", "fields"),
        [
            (
                ValueError("boom", 42),
                {"exc_type": "ValueError", "exc_message": ["boom", 42], "exc_module": "builtins"},
            ),
            (
                Outer.InnerError(),
                {"exc_type": "Outer.InnerError", "exc_message": [], "exc_module": __name__},
            ),
            (
                errors.TaskRevokedError("expired"),
                {
                    "exc_type": "TaskRevokedError",
                    "exc_message": ["expired"],
                    "exc_module": "celery.exceptions",
                },
            ),
            (
                errors.TimeLimitExceeded(5),
                {
                    "exc_type": "TimeLimitExceeded",
                    "exc_message": [5],
                    "exc_module": "billiard.exceptions",
                },
            ),
        ],
    )
    def test_an_exception_is_its_class_its_arguments_and_its_module(
        self, exc: Exception, fields: dict[str, Any]
    ) -> None:
        assert encode_exception(exc) == fields
        back = decode_exception(fields)
        assert type(back) is type(exc)
        assert back.args == exc.args

    def test_an_argument_that_cannot_be_written_is_replaced_by_its_repr(self) -> None:
        fields = encode_exception(ValueError("a", {1}, Unprintable()))

        assert fields["exc_message"][:2] == ["a", "{1}"]
        assert fields["exc_message"][2] == "<unprintable Unprintable: RuntimeError>"

    def test_each_error_of_ours_that_celery_knows_bears_celerys_name(self) -> None:
        for name in (
            "TaskRevokedError Reject NotRegistered ChordError Retry MaxRetriesExceededError Ignore"
            " TimeoutError"
        ).split():
            assert encode_exception(getattr(errors, name)())["exc_module"] == "celery.exceptions"
        for name in "TimeLimitExceeded SoftTimeLimitExceeded WorkerLostError Terminated".split():
            assert encode_exception(getattr(errors, name)())["exc_module"] == "billiard.exceptions"

    def test_celerys_names_for_what_billiard_has_are_ours_too(self) -> None:
        for module in ("celery.exceptions", "billiard.exceptions"):
            fields = {"exc_type": "WorkerLostError", "exc_message": [], "exc_module": module}
            assert type(decode_exception(fields)) is errors.WorkerLostError

    def test_a_class_that_is_not_loaded_is_made_up_under_its_name(self) -> None:
        fields = {"exc_type": "MyError", "exc_message": ["x"], "exc_module": "not_loaded_here"}

        exc = decode_exception(fields)

        assert (type(exc).__module__, type(exc).__name__) == ("not_loaded_here", "MyError")
        assert exc.args == ("x",)

    def test_no_module_is_imported_to_find_a_class(self) -> None:
        import sys

        assert "antigravity" not in sys.modules
        decode_exception({"exc_type": "E", "exc_message": [], "exc_module": "antigravity"})
        assert "antigravity" not in sys.modules

    @pytest.mark.parametrize(
        ("module", "name"),
        [
            ("os", "system"),
            ("builtins", "eval"),
            (__name__, "Outer.not_an_exception"),
            ("builtins", "int"),
            (__name__, "Outer"),
        ],
    )
    def test_what_is_no_exception_class_is_refused(self, module: str, name: str) -> None:
        with pytest.raises(errors.SecurityError, match="is not an exception class"):
            decode_exception({"exc_type": name, "exc_message": ["x"], "exc_module": module})

    def test_a_class_that_refuses_its_arguments_is_told_in_plain_words(self) -> None:
        exc = decode_exception(encode_exception(PickyError(code=5)))

        assert type(exc) is Exception
        assert str(exc) == "PickyError(5)"

    @pytest.mark.parametrize("message", ["old style", None, 5])
    def test_older_writers_give_one_text_instead_of_arguments(self, message: Any) -> None:
        fields = {"exc_type": "KeyError", "exc_message": message, "exc_module": "builtins"}

        assert decode_exception(fields).args == (message,)

    def test_without_a_module_a_class_of_that_name_is_made_up(self) -> None:
        assert type(decode_exception({"exc_type": "Odd"})).__name__ == "Odd"

    def test_an_unpicklable_exception_is_stored_as_its_fields(self) -> None:
        class LocalError(Exception):
            pass

        data = encode_meta(
            task_id="a", state="FAILURE", result=LocalError("x"), serializer="pickle"
        )

        back = decode_meta(data, "pickle")["result"]
        assert (type(back).__name__, back.args) == ("LocalError", ("x",))

    def test_a_picklable_exception_keeps_its_attributes_in_a_pickle(self) -> None:
        exc = ValueError("x")
        exc.hint = {1, 2}  # type: ignore[attr-defined]

        data = encode_meta(task_id="a", state="FAILURE", result=exc, serializer="pickle")

        assert decode_meta(data, "pickle")["result"].hint == {1, 2}

    @given(
        st.fixed_dictionaries(
            {"exc_type": values.plain | st.sampled_from(["ValueError", "a\0b", "\ud800", "A.B"])},
            optional={
                "exc_module": values.plain | st.sampled_from(["builtins", "os", __name__]),
                "exc_message": values.plain,
            },
        )
    )
    def test_any_fields_are_an_exception_or_refused(self, fields: dict[str, Any]) -> None:
        with contextlib.suppress(errors.SecurityError):
            assert isinstance(decode_exception(fields), BaseException)

    @given(values.extended)
    def test_any_argument_makes_the_way_or_becomes_text(self, value: Any) -> None:
        assert decode_exception(encode_exception(ValueError(value))).args == (value,)
