"""Is this value what the setting asks for?  The types that settings_table.py names.

Values from Python keep their type or are refused; values from text (environment, command line)
are read as the setting wants them.
"""

from __future__ import annotations

import difflib
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta, tzinfo
from typing import Any

from .clock import zone
from .redact import mask
from .settings_table import Setting

_YES = frozenset(("1", "true", "yes", "on", "y", "t"))
_NO = frozenset(("0", "false", "no", "off", "n", "f"))
_RATE = re.compile(r"\d+(\.\d+)?(/[smh])?")
_PATH = re.compile(r"[A-Za-z_][\w.+:/-]*")


class Mismatch(Exception):
    """Raised by a reader for a value that is not of its type."""


Reader = Callable[[Any, bool], Any]


def _bool(value: Any, text: bool) -> bool:
    if text and isinstance(value, str):
        word = value.strip().lower()
        if word in _YES or word in _NO:
            return word in _YES
    elif isinstance(value, bool) or value in (0, 1):
        return bool(value)
    raise Mismatch


def _int(value: Any, text: bool) -> int:
    if text and isinstance(value, str):
        try:
            return int(value.strip().replace("_", ""))
        except ValueError:
            raise Mismatch from None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise Mismatch


def _float(value: Any, text: bool) -> float:
    if text and isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise Mismatch from None
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value:
        return value
    raise Mismatch


def _seconds(value: Any, text: bool) -> float | timedelta:
    return value if isinstance(value, timedelta) else _float(value, text)


def _str(value: Any, text: bool) -> str:
    if isinstance(value, str):
        return value
    raise Mismatch


def _bytes(value: Any, text: bool) -> bytes:
    if isinstance(value, bytes):
        return value
    raise Mismatch


def _list(value: Any, text: bool) -> Any:
    return _json(value, list) if text and isinstance(value, str) else _one_of(value, list, tuple)


def _dict(value: Any, text: bool) -> Any:
    return _json(value, dict) if text and isinstance(value, str) else _one_of(value, Mapping)


def _json(value: str, kind: type) -> Any:
    try:
        found = json.loads(value)
    except ValueError:
        raise Mismatch from None
    return _one_of(found, kind)


def _one_of(value: Any, *kinds: type) -> Any:
    if isinstance(value, kinds):
        return value
    raise Mismatch


def _names(value: Any, text: bool) -> Any:
    if isinstance(value, str):
        if text and value.lstrip().startswith("["):
            value = _json(value, list)
        else:
            parts = value.split(",") if text else [value]
            return tuple(part.strip() for part in parts if part.strip())
    if isinstance(value, list | tuple | set | frozenset) and all(isinstance(v, str) for v in value):
        return value
    raise Mismatch


def _callable(value: Any, text: bool) -> Any:
    return value if callable(value) else _path(value)


def _path(value: Any) -> str:
    if isinstance(value, str) and _PATH.match(value):
        return value
    raise Mismatch


def _rate(value: Any, text: bool) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and _RATE.fullmatch(value.strip()):
        return value
    raise Mismatch


def _timezone(value: Any, text: bool) -> Any:
    try:
        zone(_one_of(value, str, tzinfo))
    except ValueError:
        raise Mismatch from None
    return value


def _level(value: Any, text: bool) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.upper() in logging.getLevelNamesMapping():
        return value
    raise Mismatch


def _queues(value: Any, text: bool) -> Any:
    if text and isinstance(value, str):
        return _json(value, dict)
    if isinstance(value, str | bytes) or not isinstance(value, Mapping | Iterable):
        raise Mismatch
    return value


def _none(value: Any, text: bool) -> None:
    if value is None or (text and isinstance(value, str) and value.lower() in ("none", "null", "")):
        return
    raise Mismatch


#: What a type is called in an error, and how it is read.
READERS: dict[str, tuple[str, Reader]] = {
    "bool": ("True or False", _bool),
    "int": ("a whole number", _int),
    "float": ("a number", _float),
    "seconds": ("seconds (a number or a timedelta)", _seconds),
    "str": ("text", _str),
    "bytes": ("bytes", _bytes),
    "list": ("a list", _list),
    "dict": ("a dict", _dict),
    "names": ("a list of names", _names),
    "callable": ("a function or the dotted path of one", _callable),
    "class": ("a name, a class or the dotted path of one", _callable),
    "rate": ("a rate like 10, '10/s', '10/m' or '10/h'", _rate),
    "timezone": ("a time zone like 'Europe/Berlin'", _timezone),
    "level": ("a log level: DEBUG, INFO, WARNING, ERROR or CRITICAL", _level),
    "queues": ("a list of queues, or a dict of name to options", _queues),
    "any": ("anything", lambda value, text: value),
    "none": ("None", _none),
}


def words_of(setting: Setting) -> list[str]:
    """Return the types that a setting takes, in the order in which text is tried."""
    words = setting.type.split("|")
    return words if setting.default is not None or "none" in words else [*words, "none"]


def describe(setting: Setting) -> str:
    """Return what a setting takes, in words."""
    if setting.choices:
        return ("one of " if len(setting.choices) > 1 else "") + ", ".join(
            map(repr, setting.choices)
        )
    words = [READERS[word][0] if word in READERS else repr(word.strip('"'))
             for word in words_of(setting)]  # fmt: skip
    return " or ".join(words)


def coerce(setting: Setting, value: Any, *, text: bool = False) -> Any:
    """Return the value as the setting wants it; `text` if it was typed, not computed.

    Raises ValueError with one sentence that names setting, expectation and value.
    """
    found = _read(setting, value, text)
    if found is None:
        return None
    if setting.choices and found not in setting.choices:
        raise ValueError(_wrong(setting, value, text) + _suggest(found, setting.choices))
    number = found.total_seconds() if isinstance(found, timedelta) else found
    if setting.minimum is not None and isinstance(number, int | float) and number < setting.minimum:
        raise ValueError(f"{setting.name} must be {setting.minimum} or more, got {value!r}")
    return found


def _read(setting: Setting, value: Any, text: bool) -> Any:
    words = words_of(setting)
    if text:
        words.sort(key=lambda word: word in READERS and word != "none")
    for word in words:
        if word not in READERS:
            if value == word.strip('"'):
                return value
            continue
        try:
            return READERS[word][1](value, text)
        except Mismatch:
            continue
    raise ValueError(_wrong(setting, value, text))


def _wrong(setting: Setting, value: Any, text: bool) -> str:
    shown = repr(mask(value, setting.name))
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    message = f"{setting.name} must be {describe(setting)}, got {shown}"
    if isinstance(value, str) and not text:
        try:
            read = _read(setting, value, True)
        except ValueError:
            return message
        if read != value:
            message += f" (text: write {read!r}, or convert it)"
    return message


def _suggest(value: Any, choices: Iterable[Any]) -> str:
    near = difflib.get_close_matches(str(value), [str(choice) for choice in choices], 1)
    return f": {near[0]!r}?" if near else ""
