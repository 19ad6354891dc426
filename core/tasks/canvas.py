"""The canvas: signatures, and the compound ones that are made of them.

Each kind has a file of its own; they know each other by `Signature.TYPES`.  What runs next is
decided where a task ends (`execute`), from what travels with its message.
"""

from __future__ import annotations

from .chain import chain
from .chord import chord
from .group import group
from .signature import Signature, maybe_signature, signature
from .stamping import StampingVisitor

__all__ = [
    "Signature",
    "StampingVisitor",
    "chain",
    "chord",
    "group",
    "maybe_signature",
    "signature",
]
