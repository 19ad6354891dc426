"""The version of taskctl; pyproject.toml says the same, and a test compares them."""

from __future__ import annotations

__version__ = "1.0.0"

#: Day of this version, as manual pages bear it.
RELEASED = "2026-11-22"
