"""The tree of commands, and what the code of a command reads."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from taskctl.context import Context
from taskctl.program import COMMANDS, Program

from ..house.structure import imports, sources

#: Calls that declare an option, and so do not read it.
_DECLARING = {"Option", "Row", "click_option", "option", "Argument"}


def commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Return each command and sub-command with its path."""
    program = Program()
    ctx = click.Context(program, info_name="taskctl", obj=Context())
    for name in COMMANDS:
        command = program.get_command(ctx, name)
        assert command is not None
        yield from _below((name,), command, ctx)


def _below(
    path: tuple[str, ...], command: click.Command, parent: click.Context
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        ctx = click.Context(command, info_name=path[-1], parent=parent, obj=parent.obj)
        for name in command.list_commands(ctx):
            sub = command.get_command(ctx, name)
            assert sub is not None
            yield from _below((*path, name), sub, ctx)


def options(command: click.Command) -> list[click.Option]:
    return [param for param in command.params if isinstance(param, click.Option)]


def unread(command: click.Command) -> set[str]:
    """Return the parameters of a command that its code never looks at."""
    assert command.callback is not None
    callback = inspect.unwrap(command.callback)
    named = inspect.signature(callback).parameters
    own = _read(ast.parse(textwrap.dedent(inspect.getsource(callback))))
    far = own | _reach(callback.__module__)
    taken = {str(param.name) for param in command.params if getattr(param, "expose_value", True)}
    return {name for name in taken if name not in (own if name in named else far)}


def _read(tree: ast.AST) -> frozenset[str]:
    """Return the names, attributes and texts that code mentions other than to declare options."""
    found: set[str] = set()
    left: list[ast.AST] = [tree]
    while left:
        node = left.pop()
        if isinstance(node, ast.Call) and _called(node.func) in _DECLARING:
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        left.extend(ast.iter_child_nodes(node))
    return frozenset(found)


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _reach(module: str) -> frozenset[str]:
    """Return what a module reads, and those modules of the program that it imports."""
    seen, left = {module}, [module]
    found: frozenset[str] = frozenset()
    while left:
        imported, read = _module(left.pop())
        found |= read
        left += imported - seen
        seen |= imported
    return found


@functools.cache
def _module(name: str) -> tuple[set[str], frozenset[str]]:
    """Return what a module imports of the program, and what it reads."""
    path = _paths()[name]
    ours = {one for one in imports(name, path) if not one.startswith("taskctl.core")}
    return ours, _read(ast.parse(path.read_text()))


@functools.cache
def _paths() -> dict[str, Path]:
    return sources()
