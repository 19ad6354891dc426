"""Metas as fields, for stores that keep each field of a result by itself.

JSON is read and written as it stands: what it tags as a date or as bytes keeps its tag, so that a
meta taken apart and put together again is the same bytes.  Nothing here makes objects out of
what was stored, but of pickles, and of those only if they are accepted.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from ..errors import ContentDisallowed, DecodeError, EncodeError
from ..wire import codecs
from ..wire.outcome import StoredMeta
from ..wire.result_meta import COMPRESSED_MARKER, decompress, encode_meta
from ..wire.states import READY_STATES

logger = logging.getLogger(__name__)

#: The content type of pickles, as `codecs.accepted_types` names it.
PICKLE = codecs.CODECS["pickle"].content_type
#: What `result_extended` adds, in Celery's order.
EXTENDED = ("name", "args", "kwargs", "worker", "retries", "queue")


def serializer_of(data: bytes) -> str:
    """Return the name of the serializer that wrote these bytes, a map or a pickle of one."""
    first = data[:1]
    if first == b"{":
        return "json"
    if first == b"\x80" and len(data) > 1:
        return "pickle"
    if b"\x80" <= first <= b"\x8f" or first in (b"\xde", b"\xdf"):
        return "msgpack"
    return "yaml"


def take_apart(meta: bytes) -> tuple[dict[str, Any], str]:
    """Return the fields of an encoded map and the serializer that wrote it.

    Raises DecodeError if it is none.
    """
    if meta.startswith(COMPRESSED_MARKER):
        meta = decompress(meta)
    serializer = serializer_of(meta)
    fields = read(meta, serializer)
    if not isinstance(fields, dict):
        raise DecodeError(f"not a map of fields: {meta[:80]!r}")
    return fields, serializer


def compress_like(meta: bytes, field: bytes) -> bytes:
    """Return a field compressed as the meta it is from was, or as it is."""
    if not meta.startswith(COMPRESSED_MARKER):
        return field
    kind = meta[len(COMPRESSED_MARKER) :].partition(b"\x00")[0]
    packed = codecs.compress(field, kind.decode())[1]
    return COMPRESSED_MARKER + kind + b"\x00" + packed


def opened(item: StoredMeta, where: str, own: str) -> tuple[StoredMeta, dict[str, Any], str] | None:
    """Return a record, its fields and its serializer; None for what is no meta, which is logged.

    A pickle that cannot be read in this process becomes a FAILURE that says so, written by the
    serializer `own`.
    """
    try:
        return item, *take_apart(item.meta)
    except DecodeError as exc:
        logger.error("%s cannot keep the result of task %s: %s", where, item.task_id, exc)
        if serializer_of(item.meta) != "pickle":
            return None
        item = unfit(item, f"this process cannot read it to take it apart: {exc}", own)
        return item, *take_apart(item.meta)


def put_together(fields: Mapping[str, Any], serializer: str, accept: frozenset[str]) -> bytes:
    """Return an encoded map of these fields.

    What the serializer cannot hold (it was stored as a pickle) becomes a pickle, if those are
    accepted.  Raises DecodeError if not.
    """
    try:
        return write(dict(fields), serializer)
    except EncodeError as exc:
        if PICKLE not in accept:
            raise DecodeError(str(exc)) from exc
        return write(dict(fields), "pickle")


def write(value: Any, serializer: str) -> bytes:
    """Return one encoded field.  Raises EncodeError."""
    return codecs.encode(value, serializer)[2]


def read(data: bytes, serializer: str) -> Any:
    """Return one field; extended types of JSON stay tagged.  Raises DecodeError."""
    if serializer != "json":
        codec = codecs.codec_named(serializer)
        return codecs.decode(data, codec.content_type, codec.content_encoding)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise DecodeError(f"not JSON: {exc}") from exc


def refused(exc: Exception, serializer: str) -> bytes:
    """Return what to hand out for a row that cannot be read: `decode_meta` refuses it.

    It is the reason, which `decode_meta` shows, and so names the one result that is spoilt while
    the others are read; of a pickle it says itself what to do.
    """
    if isinstance(exc, ContentDisallowed) and serializer != "pickle":
        return b"\x80"
    return write(f"{exc}", serializer)


def read_stored(data: Any, serializer: str, accept: frozenset[str]) -> Any:
    """Return one field of a row; None stays None.

    A pickle in a row of another serializer comes from Celery before 5.7, whose columns were
    pickles: it is refused with ContentDisallowed unless accepted.  Raises DecodeError.
    """
    if data is None:
        return None
    data = data.encode() if isinstance(data, str) else bytes(data)
    if data.startswith(COMPRESSED_MARKER):
        data = decompress(data)
    try:
        return read(data, serializer)
    except DecodeError:
        if data[:1] != b"\x80":
            raise
    if PICKLE not in accept:
        raise ContentDisallowed("it is a pickle, which result_accept_content does not list")
    return codecs.decode(data, PICKLE, "binary")


def text(value: Any) -> str | None:
    """Return what every field of text can hold: no zero bytes, no halves of characters."""
    if value is None:
        return None
    whole = str(value).replace("\x00", "\\x00")
    return whole.encode("utf-8", "backslashreplace").decode()


def accepted(options: Mapping[str, Any]) -> frozenset[str]:
    """Return the content types that results may have, from the options of a backend."""
    names: Iterable[str] | None
    names = options.get("result_accept_content") or options.get("accept_content")
    return codecs.accepted_types(names or ("json",))


def extended_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `result_extended` added to a meta, but the stamps; empty if nothing."""
    return {name: fields[name] for name in EXTENDED if name in fields}


def stamps_of(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the stamps of a meta as Celery's tables keep them, or None."""
    names = fields.get("stamped_headers")
    if not names:
        return None
    stamps = {name: fields[name] for name in names if name in fields}
    return {"stamped_headers": names, "stamps": stamps}


def read_stamps(value: Any) -> dict[str, Any]:
    """Return the fields of a meta that a stored record of stamps stands for."""
    if not isinstance(value, dict):
        return {}
    fields = {"stamped_headers": value["stamped_headers"]} if "stamped_headers" in value else {}
    stamps = value.get("stamps")
    return {**fields, **stamps} if isinstance(stamps, dict) else fields


def done_at(fields: Mapping[str, Any]) -> datetime | None:
    """Return when the task ended, in UTC; None in states that are not final.

    A final meta that does not say it ends now.
    """
    if fields.get("status") not in READY_STATES:
        return None
    text = fields.get("date_done")
    when = datetime.fromisoformat(text) if isinstance(text, str) else datetime.now(UTC)
    return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)


def done_text(state: str, when: datetime | None) -> str | None:
    """Return a stored end as a meta says it; times without a zone are UTC."""
    if when is None or state not in READY_STATES:
        return None
    return (when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)).isoformat()


def unfit(item: StoredMeta, reason: str, serializer: str = "json") -> StoredMeta:
    """Return a small FAILURE in place of a meta that the store can never hold.

    Whoever waits for it is told why, instead of waiting for ever.
    """
    error = EncodeError(f"the result cannot be stored: {reason}")
    data = encode_meta(
        task_id=item.task_id,
        state="FAILURE",
        result=error,
        date_done=datetime.now(UTC),
        serializer=serializer,
    )
    return StoredMeta(task_id=item.task_id, state="FAILURE", meta=data)


def meta_fields(
    task_id: str,
    state: str,
    result: Any,
    traceback: Any,
    children: Any,
    date_done: str | None,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the fields of a meta in Celery's order."""
    return {
        "status": state,
        "result": result,
        "traceback": traceback,
        "children": children or [],
        "date_done": date_done,
        **more,
        "task_id": task_id,
    }
