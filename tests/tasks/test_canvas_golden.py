"""What a call of the canvas sends equals what Celery sent for it, field by field, ids aside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from taskctl import App, StampingVisitor, chain, chord, group
from taskctl.core import current
from taskctl.core.messaging.producer import gather
from taskctl.core.wire.message import decode_envelope

from ..wire.captures import GOLDEN

#: Sent by our own clock, process or thread.
_OURS = {"origin", "reply_to", "delivery_tag", "eta", "correlation_id"}
_CASES = (
    "task_chain3 task_chain3_link_error task_chain_ending_in_group task_chain_group_upgrade "
    "task_chain_with_chord task_chord3 task_chord_chain_body task_chord_group_body "
    "task_chord_link_error task_chord_nested_group task_group3 task_group_of_chains task_link "
    "task_link_error task_link_many task_immutable task_stamping task_stamping_visitor_chain "
    "task_xmap task_chunks"
).split()


class Monitor(StampingVisitor):
    """The visitor of the captured chain."""

    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        return {"monitoring_id": "mon-1"}

    def on_callback(self, callback: Any, **headers: Any) -> dict[str, Any]:
        return {"on_callback": True}


@pytest.fixture
def names() -> Iterator[dict[str, Any]]:
    """What the calls of the captures are made of."""
    before = current.get_app(make=False)
    with App("proj", broker=f"memory://{uuid4()}", backend=f"memory://{uuid4()}") as app:
        app.conf.task_workflow_references = False  # as where Celery's workers read
        found: dict[str, Any] = {"chain": chain, "chord": chord, "group": group}
        for name in ("add", "mul", "xsum", "echo", "on_error_old", "on_error_new", "fail"):
            found[name] = app.task(lambda *args: None, name=f"proj.{name}", typing=False)
        found["visitor"] = Monitor()
        found["backend"] = app.backend
        yield found
    current.set_app(before)


class _Ids:
    """Names ids by the order in which they are met."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def __call__(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {k: self(v) for k, v in value.items() if v is not None and k not in _OURS}
        if isinstance(value, list | tuple):
            return [self(item) for item in value]
        if isinstance(value, str) and len(value) == 36 and value.count("-") == 4:
            return self._known.setdefault(value, f"id {len(self._known)}")
        return value


def _facts(headers: dict[str, Any], body: Any) -> dict[str, Any]:
    args, kwargs, embed = body
    if headers.get("stamped_headers"):
        headers = {**headers, "stamped_headers": sorted(headers["stamped_headers"])}
    return {"headers": headers, "args": args, "kwargs": kwargs, "embed": _sorted_stamps(embed)}


def _sorted_stamps(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            k: sorted(v) if k == "stamped_headers" and v else _sorted_stamps(v)
            for k, v in value.items()
        }
    return [_sorted_stamps(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", _CASES)
def test_the_same_call_sends_the_same_messages(name: str, names: dict[str, Any]) -> None:
    captured = json.loads((GOLDEN / f"{name}.json").read_text())
    theirs = [
        _facts(entry["envelope"]["headers"], entry["body_decoded"])
        for entry in captured["redis"]
        if entry["command"] == "LPUSH"
    ]

    with gather() as publications:
        exec(captured["call"], names)

    messages = [decode_envelope(publication.envelope) for publication in publications]
    ours = [_facts(message.headers, json.loads(message.body)) for message in messages]
    assert _Ids()(ours) == _Ids()(theirs)


@pytest.mark.parametrize("name", [name for name in _CASES if "chord" in name])
def test_the_same_number_of_parts_is_awaited(
    name: str, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    captured = json.loads((GOLDEN / f"{name}.json").read_text())
    theirs = [
        int(entry["args"][1])
        for entry in captured["redis"]
        if entry["command"] == "SET" and entry["args"][0].endswith(".s")
    ]
    sizes: list[int] = []
    monkeypatch.setattr(names["backend"], "begin_chord", lambda group_id, size: sizes.append(size))

    with gather():
        exec(captured["call"], names)

    assert sizes == theirs
