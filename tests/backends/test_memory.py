"""The memory backend keeps the contract within one process."""

from __future__ import annotations

from uuid import uuid4

import pytest

from .contract import BackendContract
from .contract_chords import ChordContract


class TestMemoryBackend(BackendContract, ChordContract):
    @pytest.fixture
    def url(self) -> str:
        return f"memory://{uuid4()}"
