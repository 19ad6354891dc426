"""The memory backend keeps the contract within one process."""

from __future__ import annotations

from uuid import uuid4

import pytest

from .contract import BackendContract


class TestMemoryBackend(BackendContract):
    @pytest.fixture
    def url(self) -> str:
        return f"memory://{uuid4()}"
