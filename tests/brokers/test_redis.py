"""The Redis broker keeps the contract, on a real server."""

from __future__ import annotations

import pytest

from .contract import BrokerContract


class TestRedisBroker(BrokerContract):
    @pytest.fixture
    def broker_url(self, redis_url: str) -> str:
        return redis_url
