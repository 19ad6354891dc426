"""Serializers: values to bytes and back, by name or content type.

Names, content types and the extended JSON types are Celery's (kombu 5.7 serialization.py and
utils/json.py).  The registry is one for the process: what a program registers here is known to
all of its apps.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Iterable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from ..errors import (
    ContentDisallowed,
    DecodeError,
    EncodeError,
    ImproperlyConfigured,
    SecurityError,
)
from . import foreign, formats
from .compression import COMPRESSIONS, LARGEST_BODY, compress, compression_named, decompress
from .signed import AUTH

__all__ = [
    "CODECS",
    "COMPRESSIONS",
    "Accepted",
    "Codec",
    "accepted_types",
    "codec_named",
    "compress",
    "compression_named",
    "decode",
    "decompress",
    "disallowed",
    "encode",
    "json_decode",
    "json_encode",
    "largest_of",
    "register",
    "register_type",
    "unregister",
]


class Codec(NamedTuple):
    """One serializer: its wire names and its two functions; one that lacks is None."""

    content_type: str
    content_encoding: str
    encode: Callable[[Any], bytes] | None
    decode: Callable[[bytes], Any] | None


class Accepted(frozenset[str]):
    """The content types a reader takes, and `largest`: bytes a compressed body may become.

    `largest` None is without limit.
    """

    largest: int | None = LARGEST_BODY


# --- extended JSON ------------------------------------------------------------------------


#: Type -> (its word on the wire, or None if what encodes it is JSON as it stands; encoder).
#: The first that fits is taken: a datetime is a date too.
_EXTENDED: dict[type[Any], tuple[str | None, Callable[[Any], Any]]] = {
    datetime: ("datetime", datetime.isoformat),
    date: ("date", lambda value: value.isoformat()),
    time: ("time", lambda value: value.isoformat()),
    Decimal: ("decimal", str),
    uuid.UUID: ("uuid", lambda value: {"hex": value.hex}),
}
_REVIVERS: dict[str, Callable[[Any], Any]] = {
    "datetime": lambda v: datetime.fromisoformat(v),
    "date": lambda v: datetime.fromisoformat(v).date(),
    "time": lambda v: time.fromisoformat(v),
    "decimal": Decimal,
    "uuid": lambda v: uuid.UUID(**v),
    "bytes": lambda v: v.encode("utf-8"),
    "base64": base64.b64decode,
}


def register_type(
    cls: type[Any],
    marker: str | None,
    encoder: Callable[[Any], Any],
    decoder: Callable[[Any], Any] = lambda value: value,
) -> None:
    """Let JSON hold values of one more type, as kombu's `register_type` does.

    They travel as `{"__type__": marker, "__value__": encoder(value)}`; with `marker` None as what
    the encoder returns, and come back as that.  Both sides must know the type.
    """
    _EXTENDED[cls] = (marker, encoder)
    if marker is not None:
        _REVIVERS[marker] = decoder


def _reduce(value: Any) -> Any:
    """Return the JSON form of what JSON cannot hold (protocol: extended JSON)."""
    custom = getattr(value, "__json__", None)
    if custom is not None:
        return custom()
    for cls, (marker, encoder) in _EXTENDED.items():
        if isinstance(value, cls):
            found = encoder(value)
            return found if marker is None else {"__type__": marker, "__value__": found}
    if isinstance(value, bytes):
        try:
            return {"__type__": "bytes", "__value__": value.decode("utf-8")}
        except UnicodeDecodeError:
            text = base64.b64encode(value).decode("ascii")
            return {"__type__": "base64", "__value__": text}
    if type(value).__module__.startswith("django.") and hasattr(value, "_proxy____cast"):
        return str(value)  # a lazy translation
    raise TypeError(f"{type(value).__name__} is not JSON serializable: {value!r:.200}")


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


# --- the registry --------------------------------------------------------------------------


CODECS: dict[str, Codec] = {
    "json": Codec("application/json", "utf-8", json_encode, json_decode),
    "pickle": Codec(
        "application/x-python-serialize", "binary", foreign.pickle_encode, foreign.pickle_decode
    ),
    "yaml": Codec("application/x-yaml", "utf-8", formats.yaml_encode, formats.yaml_decode),
    "msgpack": Codec(
        "application/x-msgpack", "binary", formats.msgpack_encode, formats.msgpack_decode
    ),
}
_BY_CONTENT_TYPE = {codec.content_type: codec for codec in CODECS.values()}
#: Raw types that need no decoder and are always accepted.
RAW_TYPES = frozenset({"application/data", "application/text"})
#: Serializer of bytes and text as they are.
RAW = "raw"


def register(
    name: str,
    encoder: Callable[[Any], bytes | str] | None,
    decoder: Callable[[bytes], Any] | None,
    content_type: str,
    content_encoding: str = "utf-8",
) -> None:
    """Make a serializer known under `name` and `content_type`.

    `encoder` returns bytes, or text that is sent as UTF-8; `decoder` is given bytes.  Either may
    be None: then values cannot be written, or bytes come as they are.  A name that is known
    already means the new one from now on.
    """

    def encode(value: Any) -> bytes:
        assert encoder is not None
        found = encoder(value)
        return found.encode("utf-8") if isinstance(found, str) else bytes(found)

    known = Codec(content_type, content_encoding, encoder and encode, decoder)
    CODECS[name] = _BY_CONTENT_TYPE[content_type] = known


def unregister(name: str) -> None:
    """Forget a serializer.

    Raises ImproperlyConfigured if there is none of that name.
    """
    codec = codec_named(name)
    for known in [key for key, value in CODECS.items() if value is codec]:
        del CODECS[known]
    _BY_CONTENT_TYPE.pop(codec.content_type, None)


def codec_named(name: str) -> Codec:
    """Return the codec called `name`, or having it as content type.

    Raises ImproperlyConfigured naming the choices.
    """
    codec = CODECS.get(name) or _BY_CONTENT_TYPE.get(name)
    if codec is None and name == AUTH:
        raise ImproperlyConfigured(
            "serializer 'auth' signs messages: call app.setup_security(...) where the app is made"
        )
    if codec is None:
        choices = ", ".join(CODECS)
        raise ImproperlyConfigured(f"unknown serializer {name!r}: choose {choices}")
    return codec


def accepted_types(accept: Iterable[str], largest: int | None = LARGEST_BODY) -> Accepted:
    """Return the content types that a list of names or types stands for.

    A type nobody has registered may be listed: its bodies are taken as raw bytes or text.

    Raises ImproperlyConfigured for a name that is unknown.
    """
    types = Accepted(name if "/" in name else codec_named(name).content_type for name in accept)
    types.largest = largest
    return types


def largest_of(accept: frozenset[str] | None) -> int | None:
    """Return how many bytes a compressed body may become for a reader of these types."""
    return accept.largest if isinstance(accept, Accepted) else LARGEST_BODY


def encode(value: Any, serializer: str) -> tuple[str, str, bytes]:
    """Return (content type, content encoding, bytes) of `value`.

    The serializer `raw` takes bytes and text as they are.

    Raises EncodeError saying what could not be written.
    """
    if serializer == RAW:
        return _raw(value)
    codec = codec_named(serializer)
    try:
        if codec.encode is None:
            raise EncodeError(f"serializer {serializer} was registered without an encoder")
        return codec.content_type, codec.content_encoding, codec.encode(value)
    except (ImproperlyConfigured, EncodeError):
        raise
    except Exception as exc:
        raise EncodeError(f"cannot encode as {serializer}: {exc}") from exc


def disallowed(content_type: str, why: str = "not in accept_content") -> ContentDisallowed:
    """Return the error that refuses a content type."""
    return ContentDisallowed(f"refusing to decode content type {content_type!r}: {why}")


def _raw(value: Any) -> tuple[str, str, bytes]:
    if isinstance(value, str):
        return "application/data", "utf-8", value.encode("utf-8")
    if isinstance(value, bytes | bytearray | memoryview):
        return "application/data", "binary", bytes(value)
    raise EncodeError(f"cannot encode as raw: {type(value).__name__} is neither bytes nor text")


def decode(
    data: bytes, content_type: str, content_encoding: str, accept: frozenset[str] | None = None
) -> Any:
    """Return the value in `data`.

    Raises ContentDisallowed if `accept` (a set of content types) lacks the type; DecodeError
    if the bytes are not what they say.
    """
    if accept is not None and content_type not in accept and content_type not in RAW_TYPES:
        raise disallowed(content_type)
    codec = _BY_CONTENT_TYPE.get(content_type)
    try:
        if codec is not None and codec.decode is not None:
            return codec.decode(data)
        return data if content_encoding == "binary" else data.decode(content_encoding)
    except SecurityError:  # signed, and not as it should be
        raise
    except ImproperlyConfigured as exc:  # a driver is missing here: no fault of the message
        raise DecodeError(f"cannot read {content_type}: {exc}") from exc
    except Exception as exc:
        raise DecodeError(f"body is not {content_type}: {exc}") from exc
