"""Result metas: the record a result backend keeps of one task, and the exceptions inside.

Source: Celery 5.7 result backends, as observed on the wire.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..errors import ContentDisallowed, DecodeError, EncodeError, SecurityError
from . import codecs, foreign
from .compression import LARGEST_RESULT
from .states import EXCEPTION_STATES

#: Stands before a compressed meta, followed by the compression type, a zero byte and the rest.
#: Must equal Celery 5.7 backends/base.py COMPRESSED_PAYLOAD_MAGIC.
COMPRESSED_MARKER = b"\x00celery-compressed\x00"
#: The first byte of every pickle since protocol 2; no JSON, YAML or longer msgpack starts so.
_PICKLE_MARKER = b"\x80"


def encode_meta(
    *,
    task_id: str,
    state: str,
    result: Any,
    traceback: str | None = None,
    children: Sequence[Any] | None = (),
    date_done: datetime | None = None,
    group_id: str | None = None,
    parent_id: str | None = None,
    serializer: str = "json",
    extended: Mapping[str, Any] | None = None,
    compression: str | None = None,
) -> bytes:
    """Return the stored form of one result; key order is Celery's.

    `result` may be an exception in RETRY, FAILURE and REVOKED.  `date_done` belongs to final
    states only.  `children` are result tuples; None says that nobody ran (a bare revoke).
    `extended` holds name, args, kwargs, worker, retries, queue and stamps, in that order.

    Raises EncodeError if the result cannot be written.
    """
    if isinstance(result, BaseException) and state in EXCEPTION_STATES:
        result = storable_exception(result, serializer)
    meta: dict[str, Any] = {
        "status": state,
        "result": result,
        "traceback": traceback,
        "children": None if children is None else list(children),
        "date_done": None if date_done is None else date_done.isoformat(),
    }
    if group_id:
        meta["group_id"] = group_id
    if parent_id:
        meta["parent_id"] = parent_id
    if extended:
        meta.update(extended)
    meta["task_id"] = task_id
    data = codecs.encode(meta, serializer)[2]
    return compress(data, compression) if compression else data


class LabelledMeta(bytes):
    """A stored form that came with its content type, as messages do, not by agreement."""

    content_type: str
    content_encoding: str

    def __new__(cls, data: bytes, content_type: str, content_encoding: str) -> LabelledMeta:
        made = super().__new__(cls, data)
        made.content_type, made.content_encoding = content_type, content_encoding
        return made


def decode_meta(
    data: bytes, serializer: str = "json", accept: Iterable[str] | None = None
) -> dict[str, Any]:
    """Return the fields of a stored meta; `result` is an exception again where it was one.

    `serializer` is the backend's own; a compressed meta, and a pickled one, is recognised
    whatever the settings, and a LabelledMeta is read as its label says.  `accept` lists what may
    be read, by name or content type (None: what the backend writes, and JSON).

    Raises DecodeError if it is no meta, ContentDisallowed if it must not be read.
    """
    meta = decode_stored(data, serializer, accept)
    if not isinstance(meta, dict) or not isinstance(meta.get("status"), str):
        raise DecodeError(f"stored result has no status: {bytes(data[:80])!r}")
    meta.setdefault("result", None)
    meta.setdefault("traceback", None)
    meta.setdefault("children", None)
    result = meta["result"]
    if meta["status"] in EXCEPTION_STATES and isinstance(result, dict) and "exc_type" in result:
        meta["result"] = decode_exception(result)
    return meta


def decode_stored(data: bytes, serializer: str, accept: Iterable[str] | None = None) -> Any:
    """Return the value in what a backend keeps, a meta or a saved group; see `decode_meta`."""
    content_type, content_encoding = _label(data, serializer)
    if data.startswith(COMPRESSED_MARKER):
        data = decompress(data)
    if data[:1] == _PICKLE_MARKER:
        content_type, content_encoding = codecs.CODECS["pickle"][:2]
    accepted = codecs.accepted_types({serializer, "json"} if accept is None else accept)
    if content_type not in accepted:
        raise ContentDisallowed(
            f"refusing content of type {content_type}: not in result_accept_content"
            " (add it there if you trust whoever writes results)"
        )
    try:
        return codecs.decode(data, content_type, content_encoding)
    except DecodeError as exc:
        raise DecodeError(f"stored result cannot be read: {exc}") from exc


def _label(data: bytes, serializer: str) -> tuple[str, str]:
    if isinstance(data, LabelledMeta):
        return data.content_type, data.content_encoding
    codec = codecs.codec_named(serializer)
    return codec.content_type, codec.content_encoding


def says_success(data: bytes) -> bool:
    """Return whether a stored meta is a SUCCESS, judged by its first bytes alone.

    Works for all serializers, and on metas that this process could or would not decode.
    """
    if data.startswith(COMPRESSED_MARKER):
        data = decompress(data)
    if data.startswith(b'{"status": "'):
        return data.startswith(b'"SUCCESS"', 11)
    if data.startswith(b"{"):
        try:
            meta = json.loads(data)
        except (ValueError, RecursionError):
            return False
        return isinstance(meta, dict) and meta.get("status") == "SUCCESS"
    # msgpack and pickle write the keys in order, status first; YAML sorts them, one a line.
    key = data.find(b"status", 0, 64)
    return (key >= 0 and data.find(b"SUCCESS", key, key + 24) >= 0) or (
        b"\nstatus: SUCCESS\n" in data
    )


def result_tuple(task_id: str, parent: Any = None) -> list[Any]:
    """Return how one task's result travels: [[id, parent], null]."""
    return [[task_id, parent], None]


# --- compression ----------------------------------------------------------------------------


def compress(data: bytes, name: str) -> bytes:
    """Return what is stored of `data` with `result_compression`."""
    kind, packed = codecs.compress(data, name)
    return COMPRESSED_MARKER + kind.encode("ascii") + b"\x00" + packed


def decompress(data: bytes) -> bytes:
    """Return what stands behind the marker; raises DecodeError if it cannot be read."""
    kind, _, packed = data[len(COMPRESSED_MARKER) :].partition(b"\x00")
    return codecs.decompress(packed, kind.decode("ascii", "replace"), LARGEST_RESULT)


# --- exceptions -----------------------------------------------------------------------------


def encode_exception(exc: BaseException, serializer: str = "json") -> dict[str, Any]:
    """Return the fields of an exception: type, arguments, module.

    An argument the serializer cannot write is replaced by its repr.  Our own errors bear
    Celery's names.
    """
    module, name = foreign.their_name(type(exc))
    return {
        "exc_type": name,
        "exc_message": [_writable(arg, serializer) for arg in exc.args],
        "exc_module": module,
    }


def decode_exception(fields: Mapping[str, Any]) -> BaseException:
    """Return the exception that `fields` describe.

    Its class is looked up only in modules that are loaded already; one that is not found is
    made up.  If the class does not take the arguments, a plain Exception tells the same.

    Raises SecurityError if the name belongs to something that is not an exception.
    """
    name, module = str(fields.get("exc_type")), fields.get("exc_module")
    cls = _exception_class(name, module)
    message = fields.get("exc_message", "")
    args = message if isinstance(message, list | tuple) else (message,)
    try:
        exc = cls(*args)
    except Exception:  # the class is the user's code, and free to refuse
        exc = None
    if isinstance(exc, BaseException):
        return exc
    return Exception(f"{name}({', '.join(map(repr, args))})")


def _exception_class(name: str, module: Any) -> type[BaseException]:
    if not isinstance(module, str):
        return foreign.made_up_class(name, __name__)
    found = foreign.our_class(module, name)
    if found is None:
        found = _loaded(module, name)
    if found is None:
        return foreign.made_up_class(name, module)
    if not (isinstance(found, type) and issubclass(found, BaseException)):
        raise SecurityError(f"stored exception {module}.{name} is not an exception class")
    return found


def _loaded(module: str, name: str) -> Any:
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def storable_exception(exc: BaseException, serializer: str) -> Any:
    """Return the exception itself where the serializer can hold it, else its fields."""
    if codecs.codec_named(serializer) is codecs.CODECS["pickle"]:
        try:
            foreign.pickle_decode(foreign.pickle_encode(exc))
            return exc
        except Exception:  # pickling is the exception's own code; its fields tell the same
            return encode_exception(exc, serializer)
    return encode_exception(exc, serializer)


def _writable(value: Any, serializer: str) -> Any:
    if value is None or type(value) in (str, int, float, bool):
        return value
    try:
        codecs.encode(value, serializer)
        return value
    except EncodeError:
        return _safe_repr(value)


def _safe_repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as exc:  # a repr is the user's code
        return f"<unprintable {type(value).__name__}: {type(exc).__name__}>"
