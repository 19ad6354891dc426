"""The result of a task that ran at once, where it was called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import TaskRevokedError
from ..wire.states import READY_STATES, REVOKED
from .asyncresult import AsyncResult
from .joining import Meta
from .typevars import R_co


class EagerResult(AsyncResult[R_co]):
    """A result that was known when it was made; nothing is stored."""

    def __init__(
        self,
        id: str,
        ret_value: Any,
        state: str,
        traceback: str | None = None,
        name: str | None = None,
    ) -> None:
        # No app and no backend: everything is known, and pickles as it is.
        self.id = id
        self.parent = None
        self.ignored = False
        self._task_name = name
        self._backend = None
        self._waiters = []
        self._cache = {
            "task_id": id,
            "status": state,
            "result": ret_value,
            "traceback": traceback,
            "children": None,
            "name": name,
        }

    def _meta(self) -> Meta:
        assert self._cache is not None
        return self._cache

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        *_: Any,
        callback: Callable[[str, Any], Any] | None = None,
        **__: Any,
    ) -> R_co:
        """Return the value, or raise the exception; there is nothing to wait for."""
        if self.state not in READY_STATES:
            return None  # type: ignore[return-value]  # it was retried, and has no value
        value: R_co = self.maybe_throw(propagate=propagate, callback=callback)
        return value

    wait = get

    async def aget(self, timeout: float | None = None, propagate: bool = True, **_: Any) -> R_co:
        """Return the value, or raise the exception; there is nothing to await."""
        return self.get(propagate=propagate)

    def ready(self) -> bool:
        return True

    def exists(self) -> bool:
        return True

    def forget(self) -> None:
        """Do nothing: nothing is stored."""

    def revoke(self, *_: Any, **__: Any) -> None:
        """Make this result say that it was revoked; its value is gone."""
        error = TaskRevokedError("revoked")
        self._meta().update(status=REVOKED, result=error, traceback=None)

    def __copy__(self) -> EagerResult[R_co]:
        return type(self)(*self.__reduce__()[1])

    def __reduce__(self) -> Any:
        meta = self._meta()
        parts = (self.id, meta["result"], meta["status"], meta["traceback"], self._task_name)
        return type(self), parts
