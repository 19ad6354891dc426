"""The JSON Schemas of docs/schema, and what they cannot say of a document."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "schema"

_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")
_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
#: Keys whose values are what somebody else wrote, in any form.
_FOREIGN = frozenset({
    "value", "default", "celery_default", "left", "right", "settings", "args", "kwargs", "result",
    "text", "help", "headers", "message", "args_repr", "line", "eta",
})  # fmt: skip
#: Keys whose value is a number, or null.
_NUMBERS = re.compile(
    r".*_(seconds|bytes)|seconds|pid|old_pid|depth|unacked|due|consumers|slots|busy|done|failed"
    r"|attempts|priority|messages|rate|runs|uptime|exit_code|running_tasks|timestamp"
)


class Schemas:
    """All schemas by name; `used` are those that a document was held against."""

    def __init__(self) -> None:
        self.by_name = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}
        resources = [(f"{n}.json", Resource.from_contents(s)) for n, s in self.by_name.items()]
        self.registry: Registry[Any] = Registry().with_resources(resources)
        self.used: set[str] = set()

    def lines(self, name: str) -> bool:
        """Whether a document of this name has lines in jsonl."""
        return "line" in self.by_name[name].get("$defs", {})

    def keys(self, name: str) -> set[str]:
        """Return all keys that a schema tells of, those of parts elsewhere included."""
        found: set[str] = set()
        seen: set[tuple[str, str]] = set()
        todo = [(name, self.by_name[name])]
        while todo:
            name, part = todo.pop()
            if isinstance(part, dict):
                found |= set(part.get("properties", ()))
                todo += [(name, below) for below in part.values()]
            elif isinstance(part, list):
                todo += [(name, below) for below in part]
            elif isinstance(part, str) and "#/" in part:
                file, _, pointer = part.partition("#/")
                there = (file.removesuffix(".json") or name, pointer)
                if there not in seen:
                    seen.add(there)
                    todo.append((there[0], self._part(*there)))
        return found

    def _part(self, name: str, pointer: str) -> Any:
        part: Any = self.by_name[name]
        for step in pointer.split("/"):
            part = part[step]
        return part

    def misfits(self, value: Any, name: str, part: str = "") -> list[str]:
        """Return where a value does not meet a schema, or its part `#/$defs/PART`."""
        self.used.add(name)
        pointer = f"{name}.json#/$defs/{part}" if part else f"{name}.json"
        validator = Draft202012Validator({"$ref": pointer}, registry=self.registry)
        return [f"{name}: {e.json_path}: {e.message}" for e in validator.iter_errors(value)]

    def misfits_of_some(self, value: Any, name: str) -> list[str]:
        """Return the same for a document of which `--fields` left some keys alone."""
        self.used.add(name)
        lax = [(f"{n}.json", Resource.from_contents(_lax(s))) for n, s in self.by_name.items()]
        registry: Registry[Any] = Registry().with_resources(lax)
        validator = Draft202012Validator({"$ref": f"{name}.json"}, registry=registry)
        return [f"{name}: {e.json_path}: {e.message}" for e in validator.iter_errors(value)]


def _lax(schema: Any) -> Any:
    """Return a schema that wants no key but those of the document itself."""
    return {
        key: below if key in ("required", "properties") else _without_required(below)
        for key, below in schema.items()
        if key != "properties"
    } | {"properties": _without_required(schema.get("properties", {}))}


def _without_required(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_required(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {k: v for k, v in schema.items() if k != "required" or set(v) <= {"ok", "error"}}
    return {key: _without_required(below) for key, below in kept.items()}


def oddities(value: Any, path: str = "$") -> Iterator[str]:
    """Yield what is wrong in any document: times not in UTC, numbers in quotes."""
    if isinstance(value, list):
        for number, one in enumerate(value):
            yield from oddities(one, f"{path}[{number}]")
    elif isinstance(value, dict):
        for key, one in value.items():
            if key in _FOREIGN:
                continue
            if isinstance(one, str | bool) and _NUMBERS.fullmatch(key):
                yield f"{path}.{key}: {one!r} is no number"
            yield from oddities(one, f"{path}.{key}")
    elif isinstance(value, str) and _TIME.match(value) and not _UTC.fullmatch(value):
        yield f"{path}: {value!r} is no time in UTC"


def printed_words() -> set[str]:
    """Return the words that the code gives as `schema`; a part that varies is `*`."""
    trees = [ast.parse(path.read_text()) for path in sorted((ROOT / "taskctl").rglob("*.py"))]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    places = {
        node.name: [arg.arg for arg in node.args.args if arg.arg != "self"].index("schema")
        for node in nodes
        if isinstance(node, ast.FunctionDef) and "schema" in {arg.arg for arg in node.args.args}
    }
    words = set()
    for node in nodes:
        if isinstance(node, ast.Call) and (place := places.get(_name(node.func))) is not None:
            for arg in node.args[place : place + 1]:
                words |= set(
                    map(_word, [arg.body, arg.orelse] if isinstance(arg, ast.IfExp) else [arg])
                )
        elif isinstance(node, ast.Constant | ast.JoinedStr) and (text := _word(node)):
            found = re.fullmatch(r"taskctl/(.+)/1", text)
            words |= {found[1]} if found else set()
    return {word for word in words if word is not None and word.strip("*")}


def _name(func: ast.expr) -> str:
    return func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")


def _word(node: ast.expr) -> str | None:
    if isinstance(node, ast.JoinedStr):
        return "".join(_word(part) or "*" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
