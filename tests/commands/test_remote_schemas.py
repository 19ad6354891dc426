"""What nodes answer in native JSON meets the schemas under docs/schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from taskctl.core.remote.vocabulary import COMMANDS

from ..house.structure import ROOT
from ..support.shell import Shell

KINDS: dict[str, Any] = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None),
    "array": list, "object": dict,
}  # fmt: skip
#: What each command is given here; the others of `control` need no word.
WORDS = {
    "add_consumer": "more", "cancel_consumer": "more", "autoscale": "2 1", "query_task": "x",
    "rate_limit": "proj.celery.add 1/m", "time_limit": "proj.celery.add 1 2", "revoke": "x",
    "revoke_by_stamped_headers": "a=1", "terminate": "TERM x", "election": "e task proj.celery.add",
}  # fmt: skip


def misfit(value: Any, schema: dict[str, Any], path: str = "$") -> str | None:
    """Return where a value does not meet a schema, as far as ours make use of JSON Schema."""
    if "anyOf" in schema:
        found = [misfit(value, one, path) for one in schema["anyOf"]]
        return None if None in found else "; ".join(map(str, found))
    kinds = schema.get("type", list(KINDS))
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not any(
        isinstance(value, KINDS[k]) and (k == "boolean" or value is not True) for k in kinds
    ):
        return f"{path}: {value!r} is no {kinds}"
    if ("const" in schema and value != schema["const"]) or value not in schema.get("enum", [value]):
        return f"{path}: {value!r}"
    if isinstance(value, dict):
        for key in schema.get("required", ()):
            if key not in value:
                return f"{path}: no {key}"
        below = schema.get("properties", {})
        rest = schema.get("additionalProperties")
        for key, one in value.items():
            sub = below.get(key) or (rest if isinstance(rest, dict) else {})
            if found_at := misfit(one, sub, f"{path}.{key}"):
                return found_at
    for number, one in enumerate(value if isinstance(value, list) else ()):
        if found_at := misfit(one, schema.get("items", {}), f"{path}[{number}]"):
            return found_at
    return None


def schema(word: str) -> dict[str, Any]:
    return dict(json.loads((ROOT / "docs" / "schema" / f"{word}.json").read_text()))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    shell = Shell(tmp_path_factory.mktemp("schemas"))
    try:
        shell.node("w1")
        yield shell
    finally:
        shell.close()


def test_every_command_has_a_schema_and_meets_it(node: Shell) -> None:
    shown = [c for c in COMMANDS.values() if not c.hidden and c.name not in ("shutdown",)]
    lines = [f"{c.kind} {c.name} {WORDS.get(c.name, '')}" for c in shown]
    code = (
        "import sys, shlex\n"
        "from taskctl.program import run\n"
        f"for line in {lines!r}:\n"
        "    run(['-A', 'proj', *shlex.split(line), '-o', 'json'])\n"
    )

    documents = [json.loads(line) for line in node.python(code).splitlines()]

    assert len(documents) == len(shown)
    for command, document in zip(shown, documents, strict=True):
        word = f"{command.kind}.{command.name}"
        assert misfit(document, schema(word)) is None, word


def test_status_and_a_dry_run_meet_theirs(node: Shell) -> None:
    status = node.proj("status", "-d", "w1,gone@h", "-t", "0.3", "-o", "json").json
    dry = node.proj("control", "shutdown", "--dry-run", "-o", "json").json

    assert misfit(status, schema("status")) is None
    assert misfit(dry, schema("control.dry_run")) is None
    assert misfit(status, schema("control.dry_run")) is not None
    assert re.fullmatch(r"\d{4}-.*Z", status["nodes"]["w1@h"]["ok"]["last_seen"])
