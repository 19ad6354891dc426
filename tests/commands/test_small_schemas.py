"""What `config`, `doctor` and the small commands print as JSON meets docs/schema."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from ..house.structure import ROOT
from ..support.shell import Shell
from .test_remote_schemas import misfit


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    shell = Shell(tmp_path_factory.mktemp("place"))
    (shell.folder / "conf.py").write_text(
        "BROKER_URL = 'redis://:hunter2@h'\nCELERYD_POOL = 'solo'\n"
    )
    (shell.folder / "taskctl.toml").write_text("worker_timer_precision = 5\n")
    app = shell.folder / "proj" / "celery.py"
    app.write_text(app.read_text() + "\n@app.task\ndef boom():\n    raise ValueError('x')\n")
    shell.node("w1")
    yield shell
    shell.close()


@pytest.mark.parametrize(
    ("words", "word"),
    [
        ("config show -a", "config.show"),
        ("config get broker_url", "config.get"),
        ("config explain broker_url", "config.explain"),
        ("config diff app conf.py", "config.diff"),
        ("config check", "config.check"),
        ("config humanize", "config.humanize"),
        ("config censor conf.py", "config.censor"),
        ("doctor", "doctor"),
        ("init shop --dry-run", "init"),
        ("upgrade settings conf.py --dry-run", "upgrade.settings"),
        ("version", "version"),
        ("report", "report"),
        ("call proj.celery.nap -a [0]", "call"),
        ("call proj.celery.nap -a [0] --wait 10", "call"),
        ("call proj.celery.boom --wait 10", "call"),
    ],
)
def test_a_document_meets_its_schema(place: Shell, words: str, word: str) -> None:
    document = place.proj(*words.split(), "-o", "json").json

    schema = json.loads((ROOT / "docs" / "schema" / f"{word}.json").read_text())
    assert misfit(document, schema) is None
    assert document["items"]


def test_a_result_meets_its_schema(place: Shell) -> None:
    schema = json.loads((ROOT / "docs" / "schema" / "result.json").read_text())

    for task in ("add", "boom"):
        sent = place.proj("call", f"proj.celery.{task}", "-a", "[1, 2]" if task == "add" else "[]")
        said = place.proj("result", sent.out.strip(), "--timeout", "10", "-o", "json")
        assert misfit(said.json, schema) is None
