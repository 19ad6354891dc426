from __future__ import annotations
from pathlib import Path
import pytest
from .contract import BrokerContract


class TestSqlite(BrokerContract):
    @pytest.fixture
    def broker_url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/queue.db"
