"""The tasks of an app by name, and how a function becomes one of them.

A decorated function is a PendingTask at first: settings need not be known, nor the base class be
final, until it is used.  Then it turns, in place, into the task.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import AlreadyRegistered, NotRegistered
from . import models
from .autoretry import add_autoretry
from .task import Task

#: Options of `@app.task` that are not attributes of the task.
_DECORATOR_ONLY = ("name", "base", "bind", *models.OPTIONS)


class DuplicateTaskNameWarning(UserWarning):
    """Warned when two functions ask for one task name."""


class TaskRegistry(dict[str, Any]):
    """Tasks by name; a name that is not there raises NotRegistered."""

    def __missing__(self, name: str) -> Any:
        raise NotRegistered(name, hint=self._hint(name))

    def _hint(self, name: str) -> str:
        near = difflib.get_close_matches(str(name), self, 1, 0.6)
        if near:
            return f"did you mean {near[0]!r}?"
        return "no such task here: import the module that defines it, or name it in `include`"

    def register(self, task: Any) -> None:
        """Add a task, an instance or a class."""
        if not task.name:
            raise AlreadyRegistered(f"a task needs a name to be registered: {task!r}")
        self[task.name] = task() if inspect.isclass(task) else task

    def unregister(self, task: Any) -> None:
        """Remove a task, or a name; raises NotRegistered."""
        name = getattr(task, "name", task)
        if name not in self:
            raise NotRegistered(name)
        del self[name]

    def __reduce__(self) -> Any:
        return TaskRegistry, (dict(self),)


class PendingTask(Task[Any, Any]):
    """A decorated function that is not a task yet: any use of it makes it one.

    It changes its class instead of standing in for the task, so that the object in the module is
    the one in the registry, and calls pay for no detour.
    """

    def __init__(self, workshop: Workshop, fun: Callable[..., Any], options: dict[str, Any]):
        object.__setattr__(self, "_recipe", (workshop, fun, options))

    def __getattribute__(self, name: str) -> Any:
        if name in ("__class__", "__dict__"):
            return object.__getattribute__(self, name)
        evaluate(self)
        return getattr(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        evaluate(self)
        setattr(self, name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return evaluate(self)(*args, **kwargs)

    def __repr__(self) -> str:
        return repr(evaluate(self))

    def __reduce__(self) -> Any:
        return evaluate(self).__reduce__()


def evaluate(task: Any) -> Any:
    """Turn a pending task into a task, if it is not one yet; return it."""
    if type(task) is PendingTask:
        workshop, _, _ = object.__getattribute__(task, "__dict__")["_recipe"]
        workshop.finish(task)
    return task


class Workshop:
    """Makes the tasks of one app.

    `pending` are the decorated functions nobody has used yet.
    """

    def __init__(self, app: Any, tasks: TaskRegistry | None = None) -> None:
        self.app = app
        self.tasks = TaskRegistry() if tasks is None else tasks
        self.pending: list[PendingTask] = []
        self.lock = threading.RLock()
        self._warned: set[str] = set()

    def begin(self, fun: Callable[..., Any], options: dict[str, Any]) -> PendingTask:
        """Return a task of `fun` that is made at its first use."""
        task = PendingTask(self, fun, options)
        self.pending.append(task)
        return task

    def finish(self, task: PendingTask) -> None:
        """Make a pending task a real one; thread-safe.

        Raises RuntimeError if the app must be finalized by hand and has not been.
        """
        with self.lock:
            if type(task) is not PendingTask:
                return  # another thread was faster
            _, fun, options = object.__getattribute__(task, "__dict__")["_recipe"]
            name = self._name_of(fun, options)
            self.app.assert_may_finalize()
            taken = self.tasks.get(name)
            if taken is not None:
                # Two functions, one name: both objects are the first one's task from now on.
                self._warn_of_duplicate(taken, fun, name)
                _become(task, type(taken), taken.__dict__)
                return
            _become(task, self._class_of(fun, name, options), {})
            self._complete(task, options)

    def make(self, fun: Callable[..., Any], options: dict[str, Any]) -> Any:
        """Return the task of `fun`, made at once; the one of that name if there is one."""
        with self.lock:
            name = self._name_of(fun, options)
            self.app.assert_may_finalize()
            taken = self.tasks.get(name)
            if taken is not None:
                self._warn_of_duplicate(taken, fun, name)
                return taken
            cls = self._class_of(fun, name, options)
            task = cls.__new__(cls)
            self._complete(task, options)
            return task

    def adopt(self, fun: Callable[..., Any], options: dict[str, Any]) -> None:
        """Make the task of a shared function, unless this app has one of that name."""
        with self.lock:
            if self._name_of(fun, options) not in self.tasks:
                self.make(fun, options)

    def add_class(self, task: Any, options: dict[str, Any]) -> Any:
        """Register a task written as a class (or an instance of one); return the instance."""
        task = task() if inspect.isclass(task) else task
        if not task.name:
            task.name = self.app.gen_task_name(type(task).__name__, type(task).__module__)
        with self.lock:
            taken = self.tasks.get(task.name)
            if taken is not None and taken is not task:
                warnings.warn(
                    f"task {task.name} is registered twice: {type(task).__qualname__} takes the "
                    f"place of {type(taken).__qualname__}",
                    DuplicateTaskNameWarning,
                    stacklevel=4,
                )
            if type(task).__header__ is None and task.typing is not False:
                type(task).__header__ = staticmethod(_checker(task.run, task.name))
            self.tasks[task.name] = task
            task.bind(self.app)
            add_autoretry(task, options)
        return task

    def finish_all(self) -> None:
        """Make every pending task a real one."""
        while self.pending:
            self.finish(self.pending.pop(0))

    def _complete(self, task: Any, options: dict[str, Any]) -> None:
        task.__init__()
        self.tasks[task.name] = task
        task.bind(self.app)
        add_autoretry(task, options)

    def _name_of(self, fun: Callable[..., Any], options: dict[str, Any]) -> str:
        name: str | None = options.get("name")
        return name or str(self.app.gen_task_name(fun.__name__, fun.__module__))

    def _class_of(
        self, fun: Callable[..., Any], name: str, options: dict[str, Any]
    ) -> type[Task[Any, Any]]:
        """Return the class of a function's task: `run` is the function, options its attributes."""
        bound = bool(options.get("bind"))
        work, dumped = fun, None
        if options.get("pydantic"):
            with_models = models.Models(self.app, fun, name, options)
            work = with_models.wrapped()
            dumped = staticmethod(functools.partial(with_models.dumped, bound=bound))
        run = work if bound else staticmethod(work)
        attributes = {
            "name": name,
            "run": run,
            "abstract": False,
            "__doc__": fun.__doc__,
            "__module__": fun.__module__,
            "__qualname__": getattr(fun, "__qualname__", fun.__name__),
            "__annotations__": getattr(fun, "__annotations__", {}),
            "__header__": staticmethod(_checker(fun, name, skip=1 if bound else 0)),
            "__wrapped__": run,
            "_function": staticmethod(fun),
            "_dumped_arguments": dumped,
            "_app": self.app,
        }
        attributes.update((k, v) for k, v in options.items() if k not in _DECORATOR_ONLY)
        base = options.get("base") or self.app.Task
        return type(fun.__name__, (base,), attributes)

    def _warn_of_duplicate(self, taken: Any, fun: Callable[..., Any], name: str) -> None:
        """Warn once a name; a module that is imported twice is no mistake."""
        first = getattr(taken, "_function", None)
        if first is None or first is fun or _place(first) == _place(fun) or name in self._warned:
            return
        self._warned.add(name)
        warnings.warn(
            f"task {name} is defined twice, at {_place(first)} and at {_place(fun)}: "
            "calls reach the first; give one another name=",
            DuplicateTaskNameWarning,
            stacklevel=4,
        )


def _become(task: Any, cls: type, fields: dict[str, Any]) -> None:
    object.__setattr__(task, "__dict__", fields)
    object.__setattr__(task, "__class__", cls)


def task_name(main: str | None, name: str, module: str | None) -> str:
    """Return the name of a task: its module and function.

    What is defined in a script or at the prompt bears the app's main name in place of
    `__main__`, so that a worker which imports it agrees.
    """
    module = module or "__main__"
    loaded = sys.modules.get(module)
    if loaded is not None:
        module = loaded.__name__
    if module == "__main__" and main:
        module = main
    return f"{module}.{name}"


def _place(fun: Callable[..., Any]) -> str:
    code = getattr(fun, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else repr(fun)


def _checker(fun: Callable[..., Any], name: str, skip: int = 0) -> Callable[..., Any]:
    """Return a function with the parameters of `fun` that does nothing.

    Calling it is the fastest check of arguments, and Python's own words if they do not fit.
    """
    try:
        parameters = list(inspect.signature(fun).parameters.values())[skip:]
    except (TypeError, ValueError):
        return _takes_anything  # a builtin that does not tell

    text = ", ".join(_parameter_texts(parameters))
    scope: dict[str, Any] = {}
    exec(f"def check({text}): pass", {"_given": None}, scope)
    check: Callable[..., Any] = scope["check"]
    check.__qualname__ = name  # what Python names in its TypeError
    return check


def _takes_anything(*args: Any, **kwargs: Any) -> None:
    """Take any arguments."""


def _parameter_texts(parameters: list[inspect.Parameter]) -> Iterator[str]:
    kinds = [p.kind for p in parameters]
    for position, p in enumerate(parameters):
        default = "" if p.default is p.empty else "=_given"
        if p.kind is p.VAR_POSITIONAL:
            yield f"*{p.name}"
        elif p.kind is p.VAR_KEYWORD:
            yield f"**{p.name}"
        else:
            before = kinds[:position]
            if p.kind is p.KEYWORD_ONLY and not {p.KEYWORD_ONLY, p.VAR_POSITIONAL} & set(before):
                yield "*"
            yield p.name + default
            if p.kind is p.POSITIONAL_ONLY and p.POSITIONAL_ONLY not in kinds[position + 1 :]:
                yield "/"
