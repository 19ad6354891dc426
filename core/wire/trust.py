"""Serializers that nobody reads by accident: what programs `loads` without saying what they accept.

kombu's switch (kombu 5.7 serialization.py, `disable_insecure_serializers`).  Messages and results
are not read this way: they say what they accept, and that alone counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import codecs

_distrusted: set[str] = set()


def distrust_all_but(allowed: Iterable[str]) -> None:
    """Let `loads` refuse every serializer known now, besides those named.

    Raises ImproperlyConfigured for a name that is unknown.
    """
    trusted = codecs.accepted_types(allowed)
    _distrusted.clear()
    _distrusted.update(codec.content_type for codec in codecs.CODECS.values())
    _distrusted.difference_update(trusted)


def trust(names: Iterable[str]) -> None:
    """Let `loads` read these serializers again."""
    _distrusted.difference_update(codecs.accepted_types(names))


def loads(
    data: bytes,
    content_type: str,
    content_encoding: str,
    accept: frozenset[str] | None = None,
    force: bool = False,
) -> Any:
    """Return the value in `data`.

    `accept` is the content types that may be read; None: all that are not distrusted, or all with
    `force`.  Raises ContentDisallowed for one that may not, DecodeError if the bytes are not what
    they say.
    """
    if accept is None and not force and content_type in _distrusted - codecs.RAW_TYPES:
        raise codecs.disallowed(content_type, "it was disabled here")
    return codecs.decode(data, content_type, content_encoding, accept)
