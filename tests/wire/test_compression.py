"""Compressions are kombu's, and what comes out of them is bounded."""

from __future__ import annotations

import gzip
import sys
import tracemalloc
from typing import Any

import kombu.compression
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctl.core.errors import DecodeError, EncodeError, ImproperlyConfigured
from taskctl.core.wire import compression
from taskctl.core.wire.compression import COMPRESSIONS, TooLarge, compress, decompress

NAMES = sorted(COMPRESSIONS)
TYPES = sorted({c.content_type for c in COMPRESSIONS.values()})


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_kombus_means_the_same_here(name: str) -> None:
    assert kombu.compression.get_encoder(name)[1] == COMPRESSIONS[name].content_type


def test_kombu_has_no_compression_that_is_unknown_here() -> None:
    assert set(kombu.compression.encoders()) == set(TYPES)


@pytest.mark.parametrize("name", [*NAMES, *TYPES])
@given(data=st.binary(max_size=300))
def test_what_one_side_packs_the_other_unpacks(name: str, data: bytes) -> None:
    kind, ours = compress(data, name)
    theirs, their_kind = kombu.compression.compress(data, name)

    assert kind == their_kind
    assert decompress(ours, name) == decompress(theirs, kind) == data
    assert kombu.compression.decompress(ours, kind) == data


@pytest.mark.parametrize("kind", TYPES)
@given(data=st.binary(max_size=100), cut=st.integers(0, 100))
def test_any_bytes_are_unpacked_or_a_decode_error(kind: str, data: bytes, cut: int) -> None:
    for broken in (data, compress(data, kind)[1][:cut]):
        try:
            assert isinstance(decompress(broken, kind), bytes)
        except DecodeError as exc:
            assert kind in str(exc)


@pytest.mark.parametrize("kind", TYPES)
def test_as_much_as_is_allowed_comes_out_and_not_one_byte_more(kind: str) -> None:
    packed = compress(b"0" * 5000, kind)[1]

    assert decompress(packed, kind, 5000) == decompress(packed, kind, None) == b"0" * 5000
    with pytest.raises(TooLarge, match=r"more than 4999 bytes .* task_max_decompressed_size"):
        decompress(packed, kind, 4999)


@pytest.mark.parametrize("kind", TYPES)
def test_a_bomb_is_not_unpacked_first_and_measured_afterwards(kind: str) -> None:
    bomb = compress(b"0" * (64 << 20), kind)[1]
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            decompress(bomb, kind, 1 << 20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 24 << 20


@pytest.mark.parametrize("kind", ["application/x-bz2", "application/x-lzma", "application/zstd"])
def test_streams_one_after_another_are_one_body(kind: str) -> None:
    packed = compress(b"ab" * 50, kind)[1] + compress(b"cd" * 50, kind)[1]

    assert decompress(packed, kind) == b"ab" * 50 + b"cd" * 50
    with pytest.raises(TooLarge):
        decompress(packed, kind, 199)


def test_gzip_as_others_write_it_is_read_too() -> None:
    assert decompress(gzip.compress(b"x" * 99), "application/x-gzip") == b"x" * 99


@pytest.mark.parametrize(
    ("name", "modules", "package"),
    [
        ("zstd", ["backports", "compression"], "zstd"),
        ("brotli", ["brotli", "brotlicffi"], "brotli"),
    ],
)
def test_a_package_that_is_missing_is_named(
    name: str, modules: list[str], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = compress(b"x", name)[1]
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(ImproperlyConfigured, match=rf"pip install taskctl\[{package}\]"):
        compress(b"x", name)
    with pytest.raises(DecodeError, match=rf"pip install taskctl\[{package}\]"):
        decompress(packed, name)


def test_one_of_the_users_own_is_known_by_all_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "COMPRESSIONS", dict(COMPRESSIONS))
    monkeypatch.setattr(compression, "_BY_TYPE", dict(compression._BY_TYPE))
    compression.register_compression(lambda d: d[::-1], lambda d: d[::-1], "x/back", ["back"])

    assert compress(b"abc", "back") == ("x/back", b"cba")
    assert decompress(b"cba", "x/back") == b"abc"
    with pytest.raises(TooLarge):
        decompress(b"cba", "x/back", 2)


def test_one_that_fails_is_an_encode_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(data: Any) -> bytes:
        raise ValueError("no room")

    made = compression.Compression("x/none", fail, lambda data, limit: data)
    monkeypatch.setitem(COMPRESSIONS, "none", made)

    with pytest.raises(EncodeError, match="cannot compress as none: no room"):
        compress(b"x", "none")
