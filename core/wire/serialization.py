"""What a user may add to serializers, compressions and JSON types: `taskctl.serialization`.

The names are those of `kombu.serialization`, `kombu.compression` and `kombu.utils.json`.
Register where both senders and workers import it, such as the module of the app.
"""

from __future__ import annotations

from .codecs import accepted_types, register, register_type, unregister
from .codecs import encode as dumps
from .compression import register_compression
from .trust import loads

__all__ = [
    "accepted_types",
    "dumps",
    "loads",
    "register",
    "register_compression",
    "register_type",
    "unregister",
]
