"""The prefork pool, as every pool."""

from __future__ import annotations

from .contract import PoolContract


class TestPrefork(PoolContract):
    name = "prefork"
