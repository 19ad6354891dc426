"""YAML and msgpack, as Celery writes and reads them (kombu 5.7 serialization.py)."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from ..errors import ImproperlyConfigured


def _yaml() -> Any:
    try:
        import yaml  # type: ignore[import-untyped,unused-ignore]  # optional
    except ImportError as exc:
        raise ImproperlyConfigured(
            "serializer 'yaml' needs the package PyYAML: pip install taskctl[yaml]"
        ) from exc
    return yaml


@cache
def _yaml_dumper() -> Any:
    """Return a dumper that writes a signature as the plain mapping it is, which kombu's cannot."""
    safe = _yaml().SafeDumper
    dumper: Any = type("Dumper", (safe,), {})
    dumper.add_multi_representer(dict, safe.represent_dict)
    return dumper


def yaml_encode(value: Any) -> bytes:
    """Return YAML of plain values; tuples become lists."""
    return str(_yaml().dump(value, Dumper=_yaml_dumper())).encode("utf-8")


def yaml_decode(data: bytes) -> Any:
    """Return the value of a YAML document of plain values."""
    return _yaml().safe_load(data)


def msgpack_encode(value: Any) -> bytes:
    """Return msgpack of plain values."""
    return msgspec.msgpack.encode(_packable(value))


msgpack_decode = msgspec.msgpack.decode


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
