"""Serializers and compression: values to bytes and back.

Names, content types and the extended JSON types are Celery's (kombu 5.7 serialization and
compression registries).
"""

from __future__ import annotations

import base64
import bz2
import json
import lzma
import uuid
import zlib
from collections.abc import Callable, Iterable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from ..errors import ContentDisallowed, DecodeError, EncodeError, ImproperlyConfigured
from . import foreign


class Codec(NamedTuple):
    """One serializer: its wire names and its two functions."""

    content_type: str
    content_encoding: str
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


# --- extended JSON ------------------------------------------------------------------------


def _reduce(value: Any) -> Any:
    """Return the JSON form of what JSON cannot hold (protocol: extended JSON)."""
    custom = getattr(value, "__json__", None)
    if custom is not None:
        return custom()
    if isinstance(value, datetime):
        return {"__type__": "datetime", "__value__": value.isoformat()}
    if isinstance(value, date):
        return {"__type__": "date", "__value__": value.isoformat()}
    if isinstance(value, time):
        return {"__type__": "time", "__value__": value.isoformat()}
    if isinstance(value, Decimal):
        return {"__type__": "decimal", "__value__": str(value)}
    if isinstance(value, uuid.UUID):
        return {"__type__": "uuid", "__value__": {"hex": value.hex}}
    if isinstance(value, bytes):
        try:
            return {"__type__": "bytes", "__value__": value.decode("utf-8")}
        except UnicodeDecodeError:
            text = base64.b64encode(value).decode("ascii")
            return {"__type__": "base64", "__value__": text}
    if type(value).__module__.startswith("django.") and hasattr(value, "_proxy____cast"):
        return str(value)  # a lazy translation
    raise TypeError(f"{type(value).__name__} is not JSON serializable: {value!r:.200}")


_REVIVERS: dict[str, Callable[[Any], Any]] = {
    "datetime": lambda v: datetime.fromisoformat(v),
    "date": lambda v: datetime.fromisoformat(v).date(),
    "time": lambda v: time.fromisoformat(v),
    "decimal": Decimal,
    "uuid": lambda v: uuid.UUID(**v),
    "bytes": lambda v: v.encode("utf-8"),
    "base64": base64.b64decode,
}


def _revive(value: dict[str, Any]) -> Any:
    if len(value) == 2 and "__type__" in value and "__value__" in value:
        reviver = _REVIVERS.get(value["__type__"])
        if reviver is None:
            raise ValueError(f"unknown extended type {value['__type__']!r}")
        return reviver(value["__value__"])
    return value


def json_encode(value: Any) -> bytes:
    """Return Celery's JSON text of `value`; extended types become tagged objects."""
    return json.dumps(value, default=_reduce).encode("utf-8")


_plain_json = msgspec.json.Decoder()


def json_decode(data: bytes) -> Any:
    """Return the value of a JSON text, extended types revived."""
    if b'"__type__"' not in data:
        try:
            return _plain_json.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass  # NaN and lone surrogates: legal for Python's json, which Celery uses
    return json.loads(data, object_hook=_revive)


# --- the others ----------------------------------------------------------------------------


def _yaml() -> Any:
    try:
        import yaml  # type: ignore[import-untyped,unused-ignore]
    except ImportError as exc:
        raise ImproperlyConfigured("serializer 'yaml' needs PyYAML: pip install pyyaml") from exc
    return yaml


def _yaml_encode(value: Any) -> bytes:
    return str(_yaml().safe_dump(value)).encode("utf-8")


def _yaml_decode(data: bytes) -> Any:
    return _yaml().safe_load(data.decode("utf-8"))


def _msgpack_encode(value: Any) -> bytes:
    return msgspec.msgpack.encode(_packable(value))


def _packable(value: Any) -> Any:
    """Return `value` in the types that msgpack has.

    msgspec would also write dates, sets, UUIDs and more, which then come back as something else;
    Celery's msgpack refuses them, and so do we.
    """
    if value is None or type(value) in (str, int, float, bool, bytes):
        return value
    if isinstance(value, dict):
        return {_packable(key): _packable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_packable(item) for item in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        return str.__str__(value)  # the text itself, also of an enum
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"msgpack cannot hold {type(value).__name__}: {value!r:.200}")


CODECS: dict[str, Codec] = {
    "json": Codec("application/json", "utf-8", json_encode, json_decode),
    "pickle": Codec(
        "application/x-python-serialize", "binary", foreign.pickle_encode, foreign.pickle_decode
    ),
    "yaml": Codec("application/x-yaml", "utf-8", _yaml_encode, _yaml_decode),
    "msgpack": Codec("application/x-msgpack", "binary", _msgpack_encode, msgspec.msgpack.decode),
}
_BY_CONTENT_TYPE = {codec.content_type: codec for codec in CODECS.values()}
#: Raw types that need no decoder and are always accepted.
RAW_TYPES = frozenset({"application/data", "application/text"})


def codec_named(name: str) -> Codec:
    """Return the codec called `name`, or having it as content type.

    Raises ImproperlyConfigured naming the choices.
    """
    codec = CODECS.get(name) or _BY_CONTENT_TYPE.get(name)
    if codec is None:
        choices = ", ".join(CODECS)
        raise ImproperlyConfigured(f"unknown serializer {name!r}: choose {choices}")
    return codec


def encode(value: Any, serializer: str) -> tuple[str, str, bytes]:
    """Return (content type, content encoding, bytes) of `value`.

    Raises EncodeError saying what could not be written.
    """
    codec = codec_named(serializer)
    try:
        return codec.content_type, codec.content_encoding, codec.encode(value)
    except ImproperlyConfigured:
        raise
    except Exception as exc:
        raise EncodeError(f"cannot encode as {serializer}: {exc}") from exc


def accepted_types(accept: Iterable[str]) -> frozenset[str]:
    """Return the content types that a list of names or types stands for."""
    return frozenset(CODECS[name].content_type if name in CODECS else name for name in accept)


def decode(
    data: bytes, content_type: str, content_encoding: str, accept: frozenset[str] | None = None
) -> Any:
    """Return the value in `data`.

    Raises ContentDisallowed if `accept` (a set of content types) lacks the type; DecodeError
    if the bytes are not what they say.
    """
    if accept is not None and content_type not in accept and content_type not in RAW_TYPES:
        raise ContentDisallowed(
            f"refusing to decode content type {content_type!r}: not in accept_content"
        )
    codec = _BY_CONTENT_TYPE.get(content_type)
    try:
        if codec is not None:
            return codec.decode(data)
        return data if content_encoding == "binary" else data.decode(content_encoding)
    except ImproperlyConfigured as exc:  # a driver is missing here: no fault of the message
        raise DecodeError(f"cannot read {content_type}: {exc}") from exc
    except Exception as exc:
        raise DecodeError(f"body is not {content_type}: {exc}") from exc


# --- compression -----------------------------------------------------------------------------


class Compression(NamedTuple):
    """One compression: header value and its two functions."""

    content_type: str
    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes], bytes]


#: "gzip" is a zlib stream (RFC 1950), not gzip: so does kombu, under both names.
_ZLIB = Compression("application/x-gzip", zlib.compress, zlib.decompress)
_BZIP2 = Compression("application/x-bz2", bz2.compress, bz2.decompress)
_LZMA = Compression("application/x-lzma", lzma.compress, lzma.decompress)
COMPRESSIONS: dict[str, Compression] = {
    "zlib": _ZLIB,
    "gzip": _ZLIB,
    "bzip2": _BZIP2,
    "bzip": _BZIP2,
    "lzma": _LZMA,
    "xz": _LZMA,
}
_BY_COMPRESSION_TYPE = {c.content_type: c for c in COMPRESSIONS.values()}


def compression_named(name: str) -> Compression:
    """Return the compression called `name` or having it as header value.

    Raises ImproperlyConfigured naming the choices.
    """
    found = COMPRESSIONS.get(name) or _BY_COMPRESSION_TYPE.get(name)
    if found is None:
        choices = ", ".join(COMPRESSIONS)
        raise ImproperlyConfigured(f"unknown compression {name!r}: choose {choices}")
    return found


def decompress(data: bytes, content_type: str) -> bytes:
    """Return the inflated bytes.

    Raises DecodeError for an unknown type or broken data.
    """
    try:
        return compression_named(content_type).decompress(data)
    except (zlib.error, OSError, EOFError, lzma.LZMAError, ValueError) as exc:
        raise DecodeError(f"body is not {content_type}: {exc}") from exc
    except ImproperlyConfigured as exc:
        raise DecodeError(str(exc)) from exc
