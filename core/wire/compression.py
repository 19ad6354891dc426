"""Compressions of message bodies and results, each with a bound on what comes out.

Names and header values are those of kombu 5.7 compression.py; brotli and zstd need a package of
their own, which is imported when they are first used.
"""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

from ..errors import DecodeError, EncodeError, ImproperlyConfigured

#: Bytes that a compressed body may become, unless a setting says otherwise.
LARGEST_BODY = 128 << 20
#: Bytes that a compressed result may become: what Redis holds at most under one key.
LARGEST_RESULT = 512 << 20
#: Bytes of working memory an xz stream may ask for; its highest preset needs 65 MiB.
_XZ_MEMORY = 256 << 20


class TooLarge(DecodeError):
    """Raised when more comes out of a compressed body than is allowed."""


class Compression(NamedTuple):
    """One compression: header value and its two functions.

    `decompress` takes the data and the most bytes that may come out (None: any number); it
    raises TooLarge beyond that, and whatever its library raises for broken data.
    """

    content_type: str
    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes, int | None], bytes]


class _Stream(Protocol):
    """What bz2, lzma and zstd call a decompressor."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"more than {limit} bytes come out of it: raise task_max_decompressed_size if that is meant"
    )


def _cut_short() -> EOFError:
    return EOFError("compressed data ended before the end-of-stream marker was reached")


def _unroll(make: Callable[[], _Stream], data: bytes, limit: int | None) -> bytes:
    """Decompress one stream after another, as bz2.decompress and lzma.decompress do."""
    parts: list[bytes] = []
    room = limit
    while True:
        stream = make()
        part = stream.decompress(data, -1 if room is None else room + 1)
        if room is not None:
            room -= len(part)
            if room < 0:
                raise _too_large(limit or 0)
        parts.append(part)
        if not stream.eof:
            raise _cut_short()
        data = stream.unused_data.lstrip(b"\x00")  # xz pads with zeros
        if not data:
            return b"".join(parts)


def _unzip(data: bytes, limit: int | None) -> bytes:
    # 47: a zlib stream, which is what kombu writes, or real gzip, which others take it for.
    stream = zlib.decompressobj(wbits=47)
    found = stream.decompress(data, 0 if limit is None else limit + 1)
    if limit is not None and len(found) > limit:
        raise _too_large(limit)
    if not stream.eof:
        raise _cut_short()
    return found


def _unbzip(data: bytes, limit: int | None) -> bytes:
    return _unroll(bz2.BZ2Decompressor, data, limit)


def _unxz(data: bytes, limit: int | None) -> bytes:
    return _unroll(lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY), data, limit)


# --- those with a package of their own ------------------------------------------------------


def _zstd() -> Any:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd  # optional, and loaded for those who use it
    except ImportError as exc:
        raise ImproperlyConfigured(
            "compression 'zstd' needs the package backports.zstd: pip install taskctl[zstd]"
        ) from exc
    return zstd


def _zstd_compress(data: bytes) -> bytes:
    packed: bytes = _zstd().compress(data)
    return packed


def _zstd_decompress(data: bytes, limit: int | None) -> bytes:
    module = _zstd()
    try:
        return _unroll(module.ZstdDecompressor, data, limit)
    except module.ZstdError as exc:
        raise ValueError(str(exc)) from exc


def _brotli() -> Any:
    try:
        try:
            import brotli  # type: ignore[import-not-found,import-untyped,unused-ignore]
        except ImportError:
            import brotlicffi as brotli  # type: ignore[import-not-found,unused-ignore]
    except ImportError as exc:
        raise ImproperlyConfigured(
            "compression 'brotli' needs the package brotli: pip install taskctl[brotli]"
        ) from exc
    return brotli


def _brotli_compress(data: bytes) -> bytes:
    packed: bytes = _brotli().compress(data)
    return packed


def _brotli_decompress(data: bytes, limit: int | None) -> bytes:
    module = _brotli()
    stream = module.Decompressor()
    parts: list[bytes] = []
    size = 0
    try:
        while not stream.is_finished():
            try:
                part = stream.process(data, output_buffer_limit=1 << 20)
            except TypeError as exc:
                raise ImproperlyConfigured(
                    "compression 'brotli' needs brotli 1.2 or later, which can stop in time: "
                    "pip install --upgrade brotli"
                ) from exc
            if not part and (not data or stream.can_accept_more_data()):
                break
            data = b""
            size += len(part)
            if limit is not None and size > limit:
                raise _too_large(limit)
            parts.append(part)
    except module.error as exc:
        raise ValueError(str(exc)) from exc
    if not stream.is_finished():
        raise _cut_short()
    return b"".join(parts)


# --- by name --------------------------------------------------------------------------------

#: "gzip" is a zlib stream (RFC 1950), not gzip: so does kombu, under both names.
_ZLIB = Compression("application/x-gzip", zlib.compress, _unzip)
_BZIP2 = Compression("application/x-bz2", bz2.compress, _unbzip)
_LZMA = Compression("application/x-lzma", lzma.compress, _unxz)
_ZSTD = Compression("application/zstd", _zstd_compress, _zstd_decompress)
_BROTLI = Compression("application/x-brotli", _brotli_compress, _brotli_decompress)
COMPRESSIONS: dict[str, Compression] = {
    "zlib": _ZLIB,
    "gzip": _ZLIB,
    "bzip2": _BZIP2,
    "bzip": _BZIP2,
    "lzma": _LZMA,
    "xz": _LZMA,
    "zstd": _ZSTD,
    "zstandard": _ZSTD,
    "brotli": _BROTLI,
}
_BY_TYPE = {c.content_type: c for c in COMPRESSIONS.values()}


def register_compression(
    encoder: Callable[[bytes], bytes],
    decoder: Callable[[bytes], bytes],
    content_type: str,
    aliases: Iterable[str] = (),
) -> None:
    """Make a compression known under its header value and names.

    Its decoder cannot be stopped half way: what it returns is measured afterwards.
    """

    def decompress(data: bytes, limit: int | None) -> bytes:
        found = decoder(data)
        if limit is not None and len(found) > limit:
            raise _too_large(limit)
        return found

    made = Compression(content_type, encoder, decompress)
    _BY_TYPE[content_type] = made
    for name in aliases:
        COMPRESSIONS[name] = made


def compression_named(name: str) -> Compression:
    """Return the compression called `name` or having it as header value.

    Raises ImproperlyConfigured naming the choices.
    """
    found = COMPRESSIONS.get(name) or _BY_TYPE.get(name)
    if found is None:
        choices = ", ".join(COMPRESSIONS)
        raise ImproperlyConfigured(f"unknown compression {name!r}: choose {choices}")
    return found


def compress(data: bytes, name: str) -> tuple[str, bytes]:
    """Return (header value, compressed bytes).

    Raises ImproperlyConfigured for an unknown name or a missing package, EncodeError if the
    compression itself fails.
    """
    found = compression_named(name)
    try:
        return found.content_type, found.compress(data)
    except ImproperlyConfigured:
        raise
    except Exception as exc:  # a registered one is the user's code
        raise EncodeError(f"cannot compress as {name}: {exc}") from exc


def decompress(data: bytes, content_type: str, limit: int | None = LARGEST_BODY) -> bytes:
    """Return the bytes that `data` becomes, at most `limit` of them (None: any number).

    Raises DecodeError for an unknown type, a missing package, broken data, and TooLarge, which
    is one, for more than that.
    """
    try:
        return compression_named(content_type).decompress(data, limit)
    except ImproperlyConfigured as exc:
        raise DecodeError(f"cannot decompress {content_type}: {exc}") from exc
    except TooLarge as exc:
        raise TooLarge(f"body is compressed as {content_type}, and {exc}") from exc
    except Exception as exc:
        raise DecodeError(f"body is not {content_type}: {exc}") from exc
