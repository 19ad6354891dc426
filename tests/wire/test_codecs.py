"""Serializers and compressions agree with kombu's, and give back what they were given."""

from __future__ import annotations

import json
import math
import pickle
import sys
from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum
from typing import Any
from uuid import uuid4

import kombu.compression
import kombu.utils.json as kombu_json
import pytest
from hypothesis import given

from taskctl.core import errors
from taskctl.core.wire import codecs

from . import values


def round_trip(value: Any, serializer: str) -> Any:
    content_type, encoding, data = codecs.encode(value, serializer)
    return codecs.decode(data, content_type, encoding)


class TestJson:
    @given(values.extended)
    def test_every_value_comes_back(self, value: Any) -> None:
        assert round_trip(value, "json") == value

    @given(values.extended)
    def test_the_text_is_kombus_byte_for_byte(self, value: Any) -> None:
        assert codecs.json_encode(value) == kombu_json.dumps(value).encode()

    @given(values.extended)
    def test_kombus_text_is_read_as_kombu_reads_it(self, value: Any) -> None:
        text = kombu_json.dumps(value)

        assert codecs.json_decode(text.encode()) == kombu_json.loads(text)

    @given(values.plain)
    def test_text_with_other_spacing_and_raw_unicode_is_read(self, value: Any) -> None:
        text = json.dumps(value, ensure_ascii=False, indent=1)

        assert codecs.json_decode(text.encode("utf-8", "surrogatepass")) == value

    @pytest.mark.parametrize("text", ["NaN", "[Infinity, -Infinity]", '"\\ud800"', "1e400"])
    def test_what_only_pythons_json_takes_is_taken(self, text: str) -> None:
        assert repr(codecs.json_decode(text.encode())) == repr(json.loads(text))

    def test_not_a_number_is_written_as_celery_writes_it(self) -> None:
        assert codecs.json_encode([math.nan, math.inf]) == b"[NaN, Infinity]"

    def test_integers_of_any_size_come_back(self) -> None:
        assert round_trip(10**400, "json") == 10**400

    def test_tuples_become_lists(self) -> None:
        assert round_trip((1, (2,)), "json") == [1, [2]]

    def test_a_value_may_say_what_stands_for_it(self) -> None:
        class Money:
            def __json__(self) -> Any:
                return {"cents": 5}

        assert round_trip(Money(), "json") == {"cents": 5}

    def test_a_uuid_may_have_further_keys(self) -> None:
        text = b'{"__type__": "uuid", "__value__": {"int": 5, "version": 4}}'

        assert codecs.json_decode(text) == kombu_json.loads(text)

    @pytest.mark.parametrize(
        "text",
        [
            b'{"__type__": "set", "__value__": []}',
            b'{"__type__": [], "__value__": []}',
            b'{"__type__": "datetime", "__value__": "yesterday"}',
            b'{"__type__": "uuid", "__value__": 5}',
            b"",
            b"{",
            b"\xff\xfe",
            b"[" * 100_000,
        ],
    )
    def test_what_cannot_be_read_is_a_decode_error(self, text: bytes) -> None:
        with pytest.raises(errors.DecodeError, match="body is not application/json"):
            codecs.decode(text, "application/json", "utf-8")

    @pytest.mark.parametrize("value", [{1, 2}, object(), lambda: 1, {(1, 2): 3}])
    def test_what_cannot_be_written_is_an_encode_error(self, value: Any) -> None:
        with pytest.raises(errors.EncodeError, match="cannot encode as json"):
            codecs.encode(value, "json")

    def test_the_error_shows_the_culprit_cut_short(self) -> None:
        with pytest.raises(errors.EncodeError, match="set is not JSON serializable") as caught:
            codecs.encode([1, set(range(10_000))], "json")

        assert len(str(caught.value)) < 400


class TestMsgpack:
    @given(values.packable)
    def test_every_value_comes_back(self, value: Any) -> None:
        assert round_trip(value, "msgpack") == value

    @pytest.mark.parametrize("value", [datetime.now(UTC), {1}, uuid4(), Decimal("1.5"), object()])
    def test_what_would_come_back_as_something_else_is_refused(self, value: Any) -> None:
        with pytest.raises(errors.EncodeError, match="msgpack cannot hold"):
            codecs.encode([{"x": value}], "msgpack")

    def test_subclasses_are_written_as_their_plain_types(self) -> None:
        class Text(str):
            pass

        class Fields(dict):  # type: ignore[type-arg]
            pass

        class Number(IntEnum):
            ONE = 1

        value = Fields({Text("a"): [Number.ONE, (Text("b"), bytearray(b"c"))]})

        assert round_trip(value, "msgpack") == {"a": [1, ["b", b"c"]]}


class TestYaml:
    def test_without_pyyaml_both_ways_say_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "yaml", None)

        with pytest.raises(errors.ImproperlyConfigured, match=r"pip install taskctl\[yaml\]"):
            codecs.encode({}, "yaml")
        with pytest.raises(errors.DecodeError, match=r"pip install taskctl\[yaml\]"):
            codecs.decode(b"a: 1", "application/x-yaml", "utf-8")

    def test_a_value_comes_back(self) -> None:
        assert round_trip({"a": [1, "ü", None]}, "yaml") == {"a": [1, "ü", None]}


class TestPickle:
    @given(values.extended)
    def test_every_value_comes_back(self, value: Any) -> None:
        assert round_trip(value, "pickle") == value

    @given(values.extended)
    def test_the_bytes_are_kombus(self, value: Any) -> None:
        assert codecs.encode(value, "pickle")[2] == pickle.dumps(value, 4)

    def test_a_broken_pickle_is_a_decode_error(self) -> None:
        with pytest.raises(errors.DecodeError):
            codecs.decode(b"\x80\x04nonsense", "application/x-python-serialize", "binary")


class TestAccept:
    def test_a_type_that_is_not_accepted_is_refused_unread(self) -> None:
        accept = codecs.accepted_types(["json"])

        with pytest.raises(errors.ContentDisallowed, match="not in accept_content"):
            codecs.decode(b"", "application/x-python-serialize", "binary", accept)

    def test_names_and_types_may_be_listed(self) -> None:
        assert codecs.accepted_types(["json", "application/x-msgpack"]) == {
            "application/json",
            "application/x-msgpack",
        }

    def test_raw_types_are_always_accepted(self) -> None:
        assert codecs.decode(b"\xff", "application/data", "binary", frozenset()) == b"\xff"
        assert codecs.decode(b"abc", "application/text", "utf-8", frozenset()) == "abc"

    def test_an_unknown_serializer_names_the_choices(self) -> None:
        with pytest.raises(errors.ImproperlyConfigured, match="choose json, pickle, yaml, msgpack"):
            codecs.encode(1, "xml")


class TestCompression:
    @pytest.mark.parametrize("name", sorted(codecs.COMPRESSIONS))
    def test_kombu_reads_ours_and_we_read_kombus(self, name: str) -> None:
        compression = codecs.compression_named(name)

        theirs, content_type = kombu.compression.compress(b"x" * 1000, name)

        assert content_type == compression.content_type
        assert codecs.decompress(theirs, content_type) == b"x" * 1000
        ours = compression.compress(b"x" * 1000)
        assert kombu.compression.decompress(ours, content_type) == b"x" * 1000

    @pytest.mark.parametrize("name", sorted(codecs.COMPRESSIONS))
    def test_broken_bytes_are_a_decode_error(self, name: str) -> None:
        packed = codecs.compression_named(name).compress(b"x" * 1000)

        for broken in (b"nonsense", packed[:-5], packed[5:]):
            with pytest.raises(errors.DecodeError):
                codecs.decompress(broken, name)

    def test_an_unknown_type_is_a_decode_error_that_names_the_choices(self) -> None:
        with pytest.raises(errors.DecodeError, match="unknown compression 'rar': choose zlib"):
            codecs.decompress(b"", "rar")
