"""Serializers and text by kombu's names.

Behaviour: kombu 5.7 serialization.py, utils/encoding.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from taskctl.core.wire import codecs, trust


def json_loads(s: Any, **_: Any) -> Any:
    """Return the value of a JSON text or its bytes."""
    return codecs.json_decode(s.encode() if isinstance(s, str) else bytes(s))


def json_dumps(s: Any, **_: Any) -> str:
    """Return Celery's JSON text of a value."""
    return codecs.json_encode(s).decode("utf-8")


def dumps(data: Any, serializer: str | None = None) -> tuple[str, str, Any]:
    """Return content type, content encoding and the encoded value; JSON without a serializer."""
    if serializer == "raw" or (serializer is None and isinstance(data, bytes)):
        return "application/data", "binary", data
    if serializer is None and isinstance(data, str):
        return "text/plain", "utf-8", data.encode()
    content_type, encoding, encoded = codecs.encode(data, serializer or "json")
    return content_type, encoding, encoded if encoding == "binary" else encoded.decode(encoding)


def loads(
    data: Any, content_type: str, content_encoding: str, accept: Any = None, force: bool = False
) -> Any:
    """Return the value that was encoded; ContentDisallowed if its type is not accepted."""
    raw = data.encode(content_encoding) if isinstance(data, str) else bytes(data)
    accepted = None if accept is None or force else codecs.accepted_types(accept)
    content_type = content_type or "application/data"
    return trust.loads(raw, content_type, content_encoding, accepted, force)


def prepare_accept_content(accept: Iterable[str] | None, name_to_type: Any = None) -> Any:
    """Return the content types of serializers given by name."""
    return None if accept is None else codecs.accepted_types(accept)


def enable_insecure_serializers(choices: Iterable[str] = ("pickle", "yaml", "msgpack")) -> None:
    """Let `loads` read these again; what an app accepts is in its setting `accept_content`."""
    trust.trust(choices)


def disable_insecure_serializers(allowed: Iterable[str] | None = None) -> None:
    """Let `loads` refuse all others; what an app accepts is in its setting `accept_content`."""
    trust.distrust_all_but(allowed or ())


# --- text and bytes ---------------------------------------------------------------------------


def ensure_bytes(s: Any) -> bytes:
    """Return text in UTF-8, bytes as they are."""
    return s if isinstance(s, bytes) else str_to_bytes(s)


def str_to_bytes(s: Any) -> Any:
    """Return text in UTF-8, anything else as it is."""
    return s.encode() if isinstance(s, str) else s


def bytes_to_str(s: Any) -> Any:
    """Return bytes as text, anything else as it is."""
    return s.decode("utf-8", "replace") if isinstance(s, bytes) else s


def safe_str(s: Any, errors: str = "replace") -> str:
    """Return a value as text; never raises."""
    return bytes_to_str(s) if isinstance(s, str | bytes) else safe_repr(s, errors)


def safe_repr(o: Any, errors: str = "replace") -> str:
    """Return the repr of a value; never raises."""
    try:
        return repr(o)
    except Exception as exc:
        return f"<unrepresentable {type(o).__name__}: {type(exc).__name__}>"
