"""Tasks whose arguments and results are pydantic models: `@app.task(pydantic=True)`.

A parameter annotated with a model, or with a model or None, is given an instance of it; a model
that is returned where the annotation says so travels as plain data.  On the way out a model that
would come back equal is sent as plain data too.  Meaning of the options: Celery 5.7 app/base.py.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ImproperlyConfigured

#: Options of `@app.task` that are for this file.
OPTIONS = ("pydantic", "pydantic_strict", "pydantic_context", "pydantic_dump_kwargs")


class Models:
    """The models in the signature of one task's function.

    `strict` refuses to convert ("1" is no int); `context` is shown to validators, with the app
    and the task's name; `dump_kwargs` go to `model_dump`, over `mode="json"`.

    Raises ImproperlyConfigured if pydantic is not installed.
    """

    def __init__(self, app: Any, fun: Callable[..., Any], name: str, options: Mapping[str, Any]):
        try:
            # Heavy, and few tasks take models.
            self.base: type[Any] = importlib.import_module("pydantic").BaseModel
        except ImportError as exc:
            raise ImproperlyConfigured(
                f"task {name}: pydantic=True needs the package pydantic: "
                "pip install 'taskctl[pydantic]'"
            ) from exc
        self.fun = fun
        self.strict = bool(options.get("pydantic_strict"))
        self.context = {
            **(options.get("pydantic_context") or {}),
            "celery_app": app,
            "celery_task_name": name,
        }
        self.dump_kwargs = {"mode": "json", **(options.get("pydantic_dump_kwargs") or {})}
        self.signature = inspect.signature(fun)
        hints = _hints(fun)
        found = {
            key: self._model_in(hints.get(key, p.annotation))
            for key, p in self.signature.parameters.items()
        }
        self.parameters = {key: model for key, model in found.items() if model is not None}
        #: Those that may be None.
        self.optional = {
            key
            for key, p in self.signature.parameters.items()
            if types.NoneType in typing.get_args(hints.get(key, p.annotation))
        }
        self.returned = _plain(hints.get("return", self.signature.return_annotation))

    def _model_in(self, annotation: Any) -> Any:
        """Return the model an annotation asks for, else None."""
        plain = _plain(annotation)
        return plain if isinstance(plain, type) and issubclass(plain, self.base) else None

    # --- where the task runs ------------------------------------------------------------------

    def wrapped(self) -> Callable[..., Any]:
        """Return the function to run: it validates what comes and dumps what goes.

        It raises pydantic's ValidationError for arguments that are no such model.
        """
        fun = self.fun
        if inspect.iscoroutinefunction(fun):

            @functools.wraps(fun)
            async def run_async(*args: Any, **kwargs: Any) -> Any:
                bound = self._validated(args, kwargs)
                return self._dumped(await fun(*bound.args, **bound.kwargs))

            return run_async

        @functools.wraps(fun)
        def run(*args: Any, **kwargs: Any) -> Any:
            bound = self._validated(args, kwargs)
            return self._dumped(fun(*bound.args, **bound.kwargs))

        return run

    def _validated(self, args: Any, kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
        bound = self.signature.bind(*args, **kwargs)
        for key, value in bound.arguments.items():
            if key in self.parameters and (value is not None or key not in self.optional):
                bound.arguments[key] = self._validate(self.parameters[key], value)
        return bound

    def _validate(self, model: Any, value: Any) -> Any:
        return model.model_validate(value, strict=self.strict, context=self.context)

    def _dumped(self, value: Any) -> Any:
        if (
            isinstance(value, self.base)
            and isinstance(self.returned, type)
            and isinstance(value, self.returned)
        ):
            dumpable: Any = value
            return dumpable.model_dump(**self.dump_kwargs)
        return value

    # --- where it is called -------------------------------------------------------------------

    def dumped(self, args: Any, kwargs: Any, *, bound: bool) -> tuple[Any, Any]:
        """Return the arguments of a call as they travel; `bound`: the task itself comes first.

        A model that the task would not get back as it is stays what it is, for the serializer to
        judge.
        """
        base = self.base
        given_args = args if isinstance(args, list | tuple) else ()
        given_kwargs = kwargs if isinstance(kwargs, Mapping) else {}
        if not any(isinstance(value, base) for value in (*given_args, *given_kwargs.values())):
            return args, kwargs
        names = [
            key
            for key, p in self.signature.parameters.items()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ][int(bound) :]
        names += [""] * (len(given_args) - len(names))
        sent = [self._sent(name, value) for name, value in zip(names, given_args, strict=False)]
        return (
            (sent if isinstance(args, list) else tuple(sent)) if given_args else args,
            {key: self._sent(key, value) for key, value in given_kwargs.items()} or kwargs,
        )

    def _sent(self, key: str, value: Any) -> Any:
        model = self.parameters.get(key)
        if model is None or not isinstance(value, self.base) or hasattr(type(value), "__json__"):
            return value
        try:
            plain = value.model_dump(**self.dump_kwargs)
            return plain if self._validate(model, plain) == value else value
        except Exception:  # validators of the user's, some of which only work on a worker
            return value


def _hints(fun: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations with names resolved; none if one of them cannot be."""
    try:
        return typing.get_type_hints(fun)
    except (NameError, AttributeError, TypeError):
        return {}


def _plain(annotation: Any) -> Any:
    """Return `X` for `X | None` and `Optional[X]`; any other annotation as it is."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [one for one in typing.get_args(annotation) if one is not types.NoneType]
        if len(members) == 1:
            return members[0]
    return annotation
