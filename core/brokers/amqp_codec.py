"""AMQP 0-9-1 as bytes, the parts that every message passes: frames, contents, field tables.

Methods that are rare are left to `pika.spec`.  Sources: AMQP 0-9-1 specification, sections 4.2.3 to
4.2.6; the field types are those RabbitMQ speaks (its page "AMQP 0-9-1 errata", section 3).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from decimal import Decimal
from math import isfinite
from typing import Any, NamedTuple

from ..errors import EncodeError

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
END = b"\xce"
HEARTBEAT_FRAME = b"\x08\x00\x00\x00\x00\x00\x00\xce"
#: Bytes of a frame that are not its payload.
OVERHEAD = 8

#: (class, method) as the first four bytes of a method's payload.
DELIVER, RETURN, GET_OK, ACK, NACK = 0x003C003C, 0x003C0032, 0x003C0047, 0x003C0050, 0x003C0078

_FRAME = struct.Struct(">BHI")
_ACK = struct.Struct(">BHIIQBB")
_NACK = _ACK
_HEADER = struct.Struct(">HHQH")
_SHORT, _LONG, _LONGLONG = struct.Struct(">H"), struct.Struct(">I"), struct.Struct(">Q")

#: Names of the basic properties that are short strings, with their bit in the property flags.
_TEXTS = (
    ("correlation_id", 1 << 10),
    ("reply_to", 1 << 9),
    ("expiration", 1 << 8),
    ("message_id", 1 << 7),
    ("type", 1 << 5),
    ("user_id", 1 << 4),
    ("app_id", 1 << 3),
)
_TYPE, _ENCODING, _HEADERS, _MODE, _PRIORITY = 1 << 15, 1 << 14, 1 << 13, 1 << 12, 1 << 11
_TIMESTAMP, _CLUSTER = 1 << 6, 1 << 2


class Content(NamedTuple):
    """A message as AMQP carries it: its properties, encoded, and its body."""

    properties: bytes
    body: bytes


# --- writing -------------------------------------------------------------------------------------


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """Return one frame."""
    return _FRAME.pack(kind, channel, len(payload)) + payload + END


def ack(channel: int, tag: int, multiple: bool) -> bytes:
    """Return the frame of a Basic.Ack."""
    return _ACK.pack(METHOD, channel, 13, ACK, tag, multiple, 0xCE)


def nack(channel: int, tag: int, *, requeue: bool, multiple: bool = False) -> bytes:
    """Return the frame of a Basic.Nack."""
    return _NACK.pack(METHOD, channel, 13, NACK, tag, multiple | requeue << 1, 0xCE)


def publish_method(exchange: str, routing_key: str, mandatory: bool) -> bytes:
    """Return the payload of a Basic.Publish.

    Raises EncodeError for a name of more than 255 bytes.
    """
    return b"".join(
        (
            b"\x00\x3c\x00\x28\x00\x00",
            short_text(exchange),
            short_text(routing_key),
            b"\x01" if mandatory else b"\x00",
        )
    )


def content_frames(channel: int, method: bytes, content: Content, frame_max: int) -> bytes:
    """Return the frames of a publish: method, header and as many body frames as it takes.

    Raises EncodeError if the properties do not fit one frame: they cannot be split.
    """
    properties, body = content
    size = len(properties) + 12
    if size + OVERHEAD > frame_max:
        raise EncodeError(
            f"the headers of a message take {size} bytes, RabbitMQ takes at most "
            f"{frame_max - OVERHEAD} (its frame_max): put large values into the arguments"
        )
    parts = [
        _FRAME.pack(METHOD, channel, len(method)),
        method,
        END,
        _FRAME.pack(HEADER, channel, size),
        b"\x00\x3c\x00\x00",
        _LONGLONG.pack(len(body)),
        properties,
        END,
    ]
    step = frame_max - OVERHEAD
    for start in range(0, len(body), step):
        piece = body if len(body) <= step else body[start : start + step]
        parts += (_FRAME.pack(BODY, channel, len(piece)), piece, END)
    return b"".join(parts)


def short_text(value: str) -> bytes:
    """Return a short string.

    Raises EncodeError if it has more than 255 bytes.
    """
    encoded = value.encode("utf-8", "surrogatepass")
    if len(encoded) > 255:
        raise EncodeError(f"{value[:40]!r}... is too long for AMQP: 255 bytes are the most")
    return bytes((len(encoded),)) + encoded


def encode_properties(
    content_type: str, content_encoding: str, headers: Mapping[str, Any], given: Mapping[str, Any]
) -> bytes:
    """Return flags and values of the basic properties; what AMQP has no name for is left out.

    Raises EncodeError for what AMQP cannot carry.
    """
    mode, priority = given.get("delivery_mode"), given.get("priority")
    flags = _TYPE | _ENCODING | _HEADERS
    table: list[bytes] = []
    try:
        _write_table(table, headers)
    except (EncodeError, ValueError, RecursionError):
        raise EncodeError(_what_is_wrong(headers)) from None
    parts = [b"", short_text(content_type), short_text(content_encoding), *table]
    if mode in (1, 2):
        flags |= _MODE
        parts.append(b"\x01" if mode == 1 else b"\x02")
    flags |= _PRIORITY
    parts.append(bytes((max(0, min(255, priority)) if type(priority) is int else 0,)))
    for name, bit in _TEXTS[:4]:
        value = given.get(name)
        if value is not None:
            flags |= bit
            parts.append(_property(name, value))
    timestamp = given.get("timestamp")
    if type(timestamp) is int and 0 <= timestamp < 1 << 63:
        flags |= _TIMESTAMP
        parts.append(_LONGLONG.pack(timestamp))
    for name, bit in _TEXTS[4:]:
        value = given.get(name)
        if value is not None:
            flags |= bit
            parts.append(_property(name, value))
    parts[0] = _SHORT.pack(flags)
    return b"".join(parts)


def _property(name: str, value: Any) -> bytes:
    try:
        return short_text(value if type(value) is str else str(value))
    except EncodeError as exc:
        raise EncodeError(f"{name}: {exc}") from None


def _what_is_wrong(headers: Mapping[str, Any]) -> str:
    """Return which of the headers AMQP cannot carry, and why: that is looked for when it is known
    that there is one."""
    for name, value in headers.items():
        try:
            _write_table([], {name: value})
        except RecursionError:
            return f"header {name[:80]!r}: it is nested too deep"
        except ValueError as exc:
            return f"header {name[:80]!r}: {exc}"
        except EncodeError as exc:
            return f"header {name[:80]!r}: {exc}"
    return "the headers are nested too deep"


def encode_table(table: Mapping[str, Any]) -> bytes:
    """Return a field table with its length.

    Raises EncodeError for a key of more than 255 bytes, ValueError for a number AMQP has not.
    """
    parts: list[bytes] = []
    _write_table(parts, table)
    return b"".join(parts)


def _write_table(parts: list[bytes], table: Mapping[str, Any]) -> None:
    start = len(parts)
    parts.append(b"")
    for key, value in table.items():
        known = _KEYS.get(key)
        if known is None:
            known = short_text(key)
            if len(_KEYS) < 512:
                _KEYS[key] = known
        parts.append(known)
        kind = type(value)
        if kind is str:
            encoded = value.encode("utf-8", "surrogatepass")
            parts.append(b"S" + _LONG.pack(len(encoded)) + encoded)
        elif value is None:
            parts.append(b"V")
        else:
            _write_value(parts, value)
    parts[start] = _LONG.pack(sum(map(len, parts[start + 1 :])))


#: Keys that were written before, as short strings.
_KEYS: dict[str, bytes] = {}


def _write_value(parts: list[bytes], value: Any) -> None:
    if value is None:
        parts.append(b"V")
    elif isinstance(value, str):
        encoded = value.encode("utf-8", "surrogatepass")
        parts.append(b"S" + _LONG.pack(len(encoded)) + encoded)
    elif isinstance(value, bool):
        parts.append(b"t\x01" if value else b"t\x00")
    elif isinstance(value, int):
        parts.append(_integer(value))
    elif isinstance(value, float):
        if not isfinite(value):  # RabbitMQ has none, and breaks off with INTERNAL_ERROR
            raise ValueError(f"RabbitMQ has no number {value}: send None or text")
        parts.append(struct.pack(">cd", b"d", value))
    elif isinstance(value, Mapping):
        parts.append(b"F")
        _write_table(parts, {str(key): one for key, one in value.items()})
    elif isinstance(value, list | tuple):
        inner: list[bytes] = []
        for one in value:
            _write_value(inner, one)
        whole = b"".join(inner)
        parts.append(b"A" + _LONG.pack(len(whole)) + whole)
    elif isinstance(value, bytes | bytearray):
        parts.append(b"x" + _LONG.pack(len(value)) + bytes(value))
    else:
        _write_value(parts, str(value))


def _integer(value: int) -> bytes:
    if -(1 << 31) <= value < 1 << 31:
        return struct.pack(">ci", b"I", value)
    if -(1 << 63) <= value < 1 << 63:
        return struct.pack(">cq", b"l", value)
    needed = value.bit_length() + 1
    raise ValueError(f"an integer of AMQP has 64 bits with its sign, not {needed}: send text")


# --- reading -------------------------------------------------------------------------------------


class Delivered(NamedTuple):
    """The method of a Basic.Deliver, Return or GetOk, as far as it is of interest."""

    kind: int
    consumer: str
    tag: int
    redelivered: bool
    exchange: str
    routing_key: str


def read_delivered(kind: int, payload: bytes) -> Delivered:
    """Return what a Basic.Deliver, Return or GetOk says."""
    consumer, tag, redelivered, at = "", 0, False, 4
    if kind == RETURN:
        at += 2
        at += 1 + payload[at]
    else:
        if kind == DELIVER:
            size = payload[4]
            consumer, at = payload[5 : 5 + size].decode("utf-8", "replace"), 5 + size
        tag = _LONGLONG.unpack_from(payload, at)[0]
        redelivered = bool(payload[at + 8] & 1)
        at += 9
    size = payload[at]
    exchange = payload[at + 1 : at + 1 + size].decode("utf-8", "replace")
    at += 1 + size
    size = payload[at]
    key = payload[at + 1 : at + 1 + size].decode("utf-8", "replace")
    return Delivered(kind, consumer, tag, redelivered, exchange, key)


def read_properties(data: bytes) -> tuple[str, str, dict[str, Any], dict[str, Any]]:
    """Return (content type, content encoding, headers, other properties) of a header frame's tail.

    Raises ValueError if it is torn.
    """
    try:
        return _read_properties(data)
    except (IndexError, struct.error, RecursionError) as exc:
        raise ValueError(f"torn properties: {exc}") from exc


def _read_properties(data: bytes) -> tuple[str, str, dict[str, Any], dict[str, Any]]:
    flags, at = _SHORT.unpack_from(data, 0)[0], 2
    content_type, content_encoding = "application/data", "binary"
    headers: dict[str, Any] = {}
    found: dict[str, Any] = {}
    if flags & _TYPE:
        content_type, at = _read_short(data, at)
    if flags & _ENCODING:
        content_encoding, at = _read_short(data, at)
    if flags & _HEADERS:
        headers, at = _read_table(data, at)
    if flags & _MODE:
        found["delivery_mode"], at = data[at], at + 1
    if flags & _PRIORITY:
        found["priority"], at = data[at], at + 1
    if not flags & 0x07FC:
        return content_type, content_encoding, headers, found
    for name, bit in _TEXTS[:4]:
        if flags & bit:
            found[name], at = _read_short(data, at)
    if flags & _TIMESTAMP:
        found["timestamp"], at = _LONGLONG.unpack_from(data, at)[0], at + 8
    for name, bit in _TEXTS[4:]:
        if flags & bit:
            found[name], at = _read_short(data, at)
    return content_type, content_encoding, headers, found


def _read_short(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    return data[at + 1 : end].decode("utf-8", "replace"), end


def read_table(data: bytes) -> dict[str, Any]:
    """Return a field table, given with its length.

    Raises ValueError if it is torn.
    """
    try:
        return _read_table(data, 0)[0]
    except (IndexError, struct.error, RecursionError) as exc:
        raise ValueError(f"torn table: {exc}") from exc


def _read_table(data: bytes, at: int) -> tuple[dict[str, Any], int]:
    end = at + 4 + _LONG.unpack_from(data, at)[0]
    if end > len(data):
        raise ValueError("torn table: it ends beyond its frame")
    at += 4
    table: dict[str, Any] = {}
    unpack_long = _LONG.unpack_from
    while at < end:
        after = at + 1 + data[at]
        key = data[at + 1 : after].decode("utf-8", "replace")
        kind = data[after]
        at = after + 1
        if kind == 83:  # S, most of all
            start = at + 4
            at = start + unpack_long(data, at)[0]
            table[key] = data[start:at].decode("utf-8", "replace")
        elif kind == 86:  # V
            table[key] = None
        else:
            table[key], at = _read_value(kind, data, at)
    return table, end


_FIXED: dict[int, struct.Struct] = {
    ord("b"): struct.Struct(">b"),
    ord("B"): struct.Struct(">B"),
    ord("s"): struct.Struct(">h"),
    ord("u"): struct.Struct(">H"),
    ord("I"): struct.Struct(">i"),
    ord("i"): struct.Struct(">I"),
    ord("l"): struct.Struct(">q"),
    ord("L"): struct.Struct(">q"),
    ord("T"): struct.Struct(">Q"),
    ord("f"): struct.Struct(">f"),
    ord("d"): struct.Struct(">d"),
}


def _read_value(kind: int, data: bytes, at: int) -> tuple[Any, int]:
    fixed = _FIXED.get(kind)
    if fixed is not None:
        return fixed.unpack_from(data, at)[0], at + fixed.size
    if kind == 116:  # t
        return bool(data[at]), at + 1
    if kind == 86:
        return None, at
    if kind == 70:  # F
        return _read_table(data, at)
    if kind == 68:  # D
        scale, number = struct.unpack_from(">Bi", data, at)
        return str(Decimal(number).scaleb(-scale)), at + 5
    if kind not in (83, 65, 120):
        raise ValueError(f"unknown field type {chr(kind)!r}")
    start = at + 4
    end = start + _LONG.unpack_from(data, at)[0]
    if end > len(data):
        raise ValueError("torn table: a value ends beyond its frame")
    if kind == 83:
        return data[start:end].decode("utf-8", "replace"), end
    if kind == 120:
        return data[start:end], end
    values = []
    while start < end:
        value, start = _read_value(data[start], data, start + 1)
        values.append(value)
    return values, end
