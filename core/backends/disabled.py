"""No result backend: what is stored is dropped, and asking for it says what to set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

from ..errors import BackendError
from ..wire.outcome import StoredMeta
from .base import Backend


class DisabledBackend(Backend):
    """Keeps nothing; tasks run, results are lost."""

    persistent = False
    joins_chords = False

    def open(self) -> None:
        """Nothing to connect to."""

    def close(self) -> None:
        """Nothing to let go of."""

    def store(self, batch: Sequence[StoredMeta]) -> None:
        """Drop them."""

    def load(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        _refuse()

    def wait(
        self,
        task_ids: Sequence[str],
        deadline: float | None,
        known: Mapping[str, bytes] | None = None,
    ) -> dict[str, bytes]:
        _refuse()

    def find(self, prefix: str, limit: int = 10) -> list[str]:
        _refuse()

    def forget(self, task_ids: Sequence[str]) -> None:
        """Nothing was kept."""

    def store_group(self, group_id: str, value: bytes) -> None:
        _refuse()

    def load_group(self, group_id: str) -> bytes | None:
        _refuse()

    def forget_group(self, group_id: str) -> None:
        """Nothing was kept."""

    def may_pass(self, exc: BackendError) -> bool:
        return False

    def expire(self) -> int:
        return 0


def _refuse() -> NoReturn:
    raise BackendError(
        "no result backend is configured: set result_backend, for example to 'sqlite://'"
        " or 'redis://localhost:6379/0'"
    )
