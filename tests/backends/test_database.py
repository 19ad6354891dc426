"""Results in SQL databases: the contract, in Celery's tables, on SQLite and PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from .contract import SharedBackendContract


class TestSqliteThroughSqlalchemy(SharedBackendContract):
    keeps_compression = False  # columns hold the fields
    keeps_lifetime = False  # there is no column for it

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"db+sqlite:///{tmp_path}/results.db"
