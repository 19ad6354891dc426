"""What a user registers is known by name and by content type, and nothing else changes."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import kombu.serialization
import kombu.utils.json as kombu_json
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from taskctl import serialization
from taskctl.core import errors
from taskctl.core.wire import codecs, foreign
from taskctl.core.wire.compression import COMPRESSIONS, compress, decompress

from . import values


@pytest.fixture(autouse=True)
def registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    for name in ("CODECS", "_BY_CONTENT_TYPE", "_EXTENDED", "_REVIVERS"):
        monkeypatch.setattr(codecs, name, dict(getattr(codecs, name)))


@pytest.fixture
def kombus_types() -> Iterator[None]:
    """What a test registers with kombu is forgotten after it."""
    encoders, decoders = dict(kombu_json._encoders), dict(kombu_json._decoders)
    yield
    for registry, kept in ((kombu_json._encoders, encoders), (kombu_json._decoders, decoders)):
        registry.clear()
        registry.update(kept)


def reverse(value: Any) -> str:
    return str(value)[::-1]


class TestSerializers:
    def test_one_of_the_users_own_is_used_by_its_name_and_by_its_type(self) -> None:
        serialization.register("back", reverse, lambda data: data.decode()[::-1], "x/back")

        for name in ("back", "x/back"):
            assert serialization.dumps("abc", name) == ("x/back", "utf-8", b"cba")
        assert serialization.loads(b"cba", "x/back", "utf-8", frozenset({"x/back"})) == "abc"
        assert codecs.accepted_types(["back"]) == {"x/back"}

    def test_one_must_be_accepted_to_be_read(self) -> None:
        serialization.register("back", reverse, bytes, "x/back")

        with pytest.raises(errors.ContentDisallowed):
            serialization.loads(b"", "x/back", "utf-8", codecs.accepted_types(["json"]))

    def test_one_without_an_encoder_reads_alone(self) -> None:
        serialization.register("back", None, lambda data: len(data), "x/back")

        assert serialization.loads(b"four", "x/back", "binary") == 4
        with pytest.raises(errors.EncodeError, match="back was registered without an encoder"):
            serialization.dumps(1, "back")

    def test_one_without_a_decoder_gives_bytes_or_text_as_they_came(self) -> None:
        serialization.register("back", reverse, None, "x/back")

        assert serialization.loads(b"\xe4", "x/back", "latin-1") == "ä"
        assert serialization.loads(b"\xe4", "x/back", "binary") == b"\xe4"

    def test_one_that_raises_is_an_error_of_ours(self) -> None:
        def fail(value: Any) -> Any:
            raise KeyError("no such field")

        serialization.register("none", fail, fail, "x/none")

        with pytest.raises(errors.EncodeError, match="cannot encode as none"):
            serialization.dumps(1, "none")
        with pytest.raises(errors.DecodeError, match="body is not x/none"):
            serialization.loads(b"", "x/none", "utf-8")

    def test_json_may_be_replaced(self) -> None:
        serialization.register("json", lambda value: b"{}", lambda data: 5, "application/json")

        assert serialization.dumps([1], "json")[2] == b"{}"
        assert serialization.loads(b"[1]", "application/json", "utf-8") == 5

    def test_what_is_unregistered_is_unknown_again(self) -> None:
        serialization.register("back", reverse, None, "x/back")

        serialization.unregister("back")

        with pytest.raises(errors.ImproperlyConfigured, match="unknown serializer 'back'"):
            serialization.dumps(1, "back")
        with pytest.raises(errors.ImproperlyConfigured, match="unknown serializer 'back'"):
            serialization.unregister("back")

    def test_a_name_nobody_knows_cannot_be_accepted(self) -> None:
        with pytest.raises(errors.ImproperlyConfigured, match=r"unknown serializer 'yml': choose"):
            codecs.accepted_types(["json", "yml"])

    def test_raw_takes_bytes_and_text_as_kombu_does(self) -> None:
        for value in (b"\xff", "ü"):
            assert serialization.dumps(value, "raw") == kombu.serialization.dumps(value, "raw")
        with pytest.raises(errors.EncodeError, match="list is neither bytes nor text"):
            serialization.dumps([], "raw")

    @pytest.mark.parametrize("name", ["json", "pickle", "yaml", "msgpack"])
    def test_names_and_types_are_kombus(self, name: str) -> None:
        theirs = kombu.serialization.dumps([], name)

        ours = serialization.dumps([], name)

        assert ours[:2] == theirs[:2]


class TestJsonTypes:
    @pytest.mark.usefixtures("kombus_types")
    def test_a_registered_type_travels_between_kombu_and_us(self) -> None:
        for register in (serialization.register_type, kombu_json.register_type):
            register(
                Fraction,
                "fraction",
                lambda f: [f.numerator, f.denominator],
                lambda pair: Fraction(*pair),
            )
        value = {"x": [Fraction(1, 3)]}

        assert codecs.json_encode(value) == kombu_json.dumps(value).encode()
        assert codecs.json_decode(kombu_json.dumps(value).encode()) == value
        assert kombu_json.loads(codecs.json_encode(value)) == value

    @pytest.mark.usefixtures("kombus_types")
    def test_a_type_without_a_word_travels_as_what_its_encoder_returns(self) -> None:
        for register in (serialization.register_type, kombu_json.register_type):
            register(complex, None, lambda c: [c.real, c.imag])

        assert codecs.json_encode(1j) == kombu_json.dumps(1j).encode() == b"[0.0, 1.0]"

    def test_a_type_known_before_may_be_written_otherwise(self) -> None:
        serialization.register_type(Decimal, "decimal", float, lambda f: Decimal(str(f)))

        assert codecs.json_decode(codecs.json_encode(Decimal("1.5"))) == Decimal("1.5")
        assert b"1.5}" in codecs.json_encode(Decimal("1.5"))


SERIALIZERS = {
    "json": values.extended,
    "pickle": values.extended,
    "yaml": values.yamlable,
    "msgpack": values.packable,
}


class TestRoundTrips:
    @pytest.mark.parametrize("serializer", SERIALIZERS)
    @settings(max_examples=50)
    @given(data=st.data(), compression=st.sampled_from(sorted(COMPRESSIONS)))
    def test_every_serializer_through_every_compression(
        self, serializer: str, data: st.DataObject, compression: str
    ) -> None:
        value = data.draw(SERIALIZERS[serializer])

        content_type, encoding, body = codecs.encode(value, serializer)
        kind, packed = compress(body, compression)

        assert codecs.decode(decompress(packed, kind), content_type, encoding) == value

    @pytest.mark.parametrize("serializer", SERIALIZERS)
    @given(data=st.data())
    def test_kombu_reads_ours_and_we_read_kombus(
        self, serializer: str, data: st.DataObject
    ) -> None:
        value = data.draw(SERIALIZERS[serializer])
        accept = [serialization.dumps([], serializer)[0]]

        ours = codecs.encode(value, serializer)
        theirs = kombu.serialization.dumps(value, serializer)

        def as_bytes(body: Any) -> bytes:
            return body.encode() if isinstance(body, str) else body

        assert kombu.serialization.loads(ours[2], *ours[:2], accept=accept) == value
        assert codecs.decode(as_bytes(theirs[2]), theirs[0], theirs[1]) == value
        assert ours[:2] == theirs[:2]

    @pytest.mark.parametrize("serializer", SERIALIZERS)
    @given(data=st.binary(max_size=80))
    def test_any_bytes_are_read_or_a_decode_error(self, serializer: str, data: bytes) -> None:
        codec = codecs.CODECS[serializer]
        if serializer == "pickle":  # random pickles may do anything: that is why they are refused
            data = b"\x80\x04" + data.replace(b"\x93", b"").replace(b"c", b"").replace(b"R", b"")
            data = data.replace(b"i", b"").replace(b"o", b"").replace(b"\x81", b"")
        try:
            codecs.decode(data, codec.content_type, codec.content_encoding)
        except errors.DecodeError as exc:
            assert codec.content_type in str(exc)


class TestYaml:
    def test_signatures_are_written_as_plain_mappings(self) -> None:
        class Signature(dict[str, Any]):
            pass

        body = codecs.encode([Signature(task="t", options=Signature(x=1))], "yaml")[2]

        assert yaml.safe_load(body) == [{"task": "t", "options": {"x": 1}}]

    def test_what_yaml_cannot_hold_is_refused(self) -> None:
        with pytest.raises(errors.EncodeError, match="cannot encode as yaml"):
            codecs.encode(Decimal("1.5"), "yaml")

    def test_objects_are_not_made_of_yaml(self) -> None:
        text = b"!!python/object/apply:os.system [echo]"

        with pytest.raises(errors.DecodeError, match="body is not application/x-yaml"):
            codecs.decode(text, "application/x-yaml", "utf-8")


class Loud:
    """Says when it is made again of a pickle."""

    made: list[str] = []

    def __reduce__(self) -> Any:
        return Loud.made.append, ("made",)


class TestLookingAtPickles:
    def test_plain_values_are_read_and_nothing_runs(self) -> None:
        Loud.made.clear()
        data = pickle.dumps({"task": "t", "args": (Loud(), [Loud()], {"k": 1j}), "id": "1"})

        seen = foreign.pickle_look(data)

        assert Loud.made == []
        assert (seen["task"], seen["id"], len(seen["args"])) == ("t", "1", 3)
        assert repr(seen["args"][2]["k"]) == "<complex>"

    @given(values.extended)
    def test_what_is_plain_is_read_whole(self, value: Any) -> None:
        for protocol in range(6):
            seen = foreign.pickle_look(pickle.dumps({"x": value, "task": "t"}, protocol))

            assert seen["task"] == "t"
            if not isinstance(value, UUID | list | dict):
                assert seen["x"] == value

    @given(st.binary(max_size=100))
    def test_any_bytes_are_seen_or_a_decode_error(self, data: bytes) -> None:
        try:
            foreign.pickle_look(data)
        except errors.DecodeError as exc:
            assert "application/x-python-serialize" in str(exc)
