"""Remote commands of an app's own: the decorators, and where they are kept.

As in Celery (`celery.worker.control`): a function that takes the node's state and the command's
arguments, in a module that both the node and the command line import.

    from taskctl.core.remote.panel import control_command

    @control_command(args=[("limit", int)], signature="<limit>")
    def set_quota(state, limit):
        "Set the quota of this node"
        return {"ok": f"quota is now {limit}"}
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple, TypeVar

from .vocabulary import CONTROL, INSPECT, Argument, Command

Fun = TypeVar("Fun", bound=Callable[..., Any])
Args = Iterable[tuple[str, Callable[[str], Any] | None]]
Decorator = Callable[[Fun], Fun]


class Entry(NamedTuple):
    """A command and the function that obeys it."""

    command: Command
    obey: Callable[..., Any]


class Panel:
    """All commands that were registered in this process, by name and by alias."""

    entries: dict[str, Entry] = {}

    @classmethod
    def register(
        cls,
        name: str | None = None,
        *,
        type: Literal["inspect", "control"] = CONTROL,
        alias: str | None = None,
        visible: bool = True,
        default_timeout: float = 1.0,
        help: str | None = None,
        signature: str | None = None,
        args: Args | None = None,
        variadic: str | None = None,
    ) -> Callable[[Fun], Fun]:
        """Return a decorator that makes a function a remote command.

        `args` are (name, converter) of what the command line takes by position, `variadic` names
        the argument that takes the rest.  Arguments without a default must be given.
        `default_timeout` is taken as Celery takes it: nobody looks at it.
        """

        def decorate(fun: Fun) -> Fun:
            said = help or (inspect.getdoc(fun) or "").partition("\n")[0]
            command = Command(
                name or fun.__name__,
                type,
                said.strip().rstrip("."),
                tuple(_arguments(fun, args or (), variadic)),
                alias=alias,
                hidden=not visible,
                usage=signature,
            )
            for word in filter(None, (command.name, alias)):
                cls.entries[word] = Entry(command, fun)
            return fun

        return decorate

    @classmethod
    def find(cls, method: str) -> Entry | None:
        """Return the command of that name or alias, if an app has registered one."""
        return cls.entries.get(method)

    @classmethod
    def commands(cls) -> Mapping[str, Command]:
        """Return the registered commands by name."""
        return {e.command.name: e.command for e in cls.entries.values()}


def control_command(**options: Any) -> Decorator[Any]:
    """Make a function a command of `control`; see `Panel.register`."""
    return Panel.register(type=CONTROL, **options)


def inspect_command(**options: Any) -> Decorator[Any]:
    """Make a function a command of `inspect`; see `Panel.register`."""
    return Panel.register(type=INSPECT, **options)


def _arguments(fun: Callable[..., Any], args: Args, variadic: str | None) -> Iterable[Argument]:
    parameters = inspect.signature(fun).parameters
    for name, convert in args:
        default = parameters[name].default if name in parameters else None
        required = default is inspect.Parameter.empty
        yield Argument(name, convert or str, "", required, default=None if required else default)
    if variadic is not None:
        found = parameters.get(variadic)
        required = found is not None and found.default is inspect.Parameter.empty
        yield Argument(variadic, str, "", required, variadic=True)
