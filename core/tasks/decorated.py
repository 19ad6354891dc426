"""What `@app.task(...)` and `@shared_task(...)` return, to a type checker.

A function's parameters and what it returns go along into the task; of an `async def`, what is
awaited.  Nothing here runs.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from .task import Task

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class AsyncTask(Task[P, R_co]):
    """The task of an `async def`: called as a function it returns a coroutine."""

    def __call__(  # type: ignore[override]  # what is stored is what the coroutine returns
        self, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R_co]:
        coroutine: Any = super().__call__(*args, **kwargs)
        return coroutine  # type: ignore[no-any-return]


class Decorator(Protocol):
    """Makes a task of a function."""

    @overload
    def __call__(self, fun: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, fun: Callable[P, R], /) -> Task[P, R]: ...


class BoundDecorator(Protocol):
    """Makes a task of a function whose first parameter is the task itself."""

    @overload
    def __call__(
        self, fun: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, fun: Callable[Concatenate[Any, P], R], /) -> Task[P, R]: ...


class ModelDecorator(Protocol):
    """Makes a task of a function that is given models, and is sent what they are made of."""

    @overload
    def __call__(self, fun: Callable[..., Coroutine[Any, Any, R]], /) -> AsyncTask[..., R]: ...
    @overload
    def __call__(self, fun: Callable[..., R], /) -> Task[..., R]: ...
