"""What types of tasks and results are told with: parameters, and what a call returns.

Left out they mean anything: `AsyncResult` is `AsyncResult[Any]`, and `Task` takes whatever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Defaults of type variables are in `typing` from Python 3.13 on; checkers know them here.
    from typing_extensions import ParamSpec, TypeVar

    P = ParamSpec("P", default=...)
    R_co = TypeVar("R_co", covariant=True, default=Any)
else:
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    R_co = TypeVar("R_co", covariant=True)

__all__ = ["P", "R_co"]
