"""`from taskctl.serialization import register`: serializers and JSON types of a user's own."""

from __future__ import annotations

from .core import serialization

accepted_types = serialization.accepted_types
dumps = serialization.dumps
loads = serialization.loads
register = serialization.register
register_compression = serialization.register_compression
register_type = serialization.register_type
unregister = serialization.unregister

__all__ = serialization.__all__
