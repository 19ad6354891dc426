"""The examples of units and manifests hold: they verify, and what they run exists."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from taskctl.context import Context
from taskctl.core.worker.listener import Address
from taskctl.program import Program

from .house.structure import ROOT

UNITS = sorted((ROOT / "examples" / "systemd").glob("*.service"))
MANIFEST = ROOT / "examples" / "kubernetes" / "worker.yaml"


def parsed(words: list[str]) -> dict[str, Any]:
    """Return the options of a command line of ours, read as the program reads them.

    Raises click's errors for what the program would refuse.
    """
    program = Program()
    with program.make_context("taskctl", list(words), obj=Context()) as ctx:
        name, command, rest = program.resolve_command(ctx, ctx.args)
        assert name is not None and command is not None
        with command.make_context(name, rest, parent=ctx) as below:
            return {"command": name, **below.params}


def unit(path: Path) -> configparser.ConfigParser:
    reader = configparser.ConfigParser(strict=False, interpolation=None)
    reader.optionxform = str  # type: ignore[assignment,method-assign]
    reader.read(path)
    return reader


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_finds_nothing_wrong_with_a_unit(path: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    program = Path(sys.executable).with_name("taskctl")
    copy = tmp_path / path.name
    copy.write_text(path.read_text().replace("/srv/shop/venv/bin/taskctl", str(program)))

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_what_a_unit_starts_exists_with_these_options(path: Path) -> None:
    start = unit(path)["Service"]["ExecStart"].replace("%i", "w7").replace("%%", "%")

    found = parsed(shlex.split(start)[1:])

    assert found["command"] == ("beat" if "beat" in path.name else "worker")
    if found["command"] == "worker":
        assert found["hostname"] in ("w1@%h", "w7@%h")
        assert found["concurrency"] == 4


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_is_not_restarted_where_no_try_will_help(path: Path) -> None:
    service = unit(path)["Service"]

    assert service["RestartPreventExitStatus"] == "2 73 77 78"
    assert service["Restart"] == "on-failure"


@pytest.mark.parametrize("path", UNITS[1:], ids=lambda path: path.name)
def test_a_worker_tells_systemd_how_it_is(path: Path) -> None:
    service = unit(path)["Service"]

    assert (service["Type"], service["KillMode"]) == ("notify", "mixed")
    assert int(service["WatchdogSec"]) >= 30  # a broker that hangs may take 15 s of one turn
    assert service["OOMPolicy"] == "continue"
    assert service["RuntimeDirectory"] == "taskctl"  # where root's `probe` looks


@pytest.fixture
def pod() -> dict[str, Any]:
    document = yaml.safe_load(MANIFEST.read_text())
    assert (document["apiVersion"], document["kind"]) == ("apps/v1", "Deployment")
    labels = document["spec"]["template"]["metadata"]["labels"]
    assert document["spec"]["selector"]["matchLabels"] == labels
    return document["spec"]["template"]


def container(pod: dict[str, Any]) -> dict[str, Any]:
    [one] = pod["spec"]["containers"]
    return one


def test_the_commands_of_the_manifest_exist_with_these_options(pod: dict[str, Any]) -> None:
    worker = container(pod)
    port = worker["ports"][0]["containerPort"]

    found = parsed(worker["command"][1:])

    assert found["health_listen"] == found["metrics_listen"] == Address("0.0.0.0", port)
    for probe in ("startupProbe", "livenessProbe"):
        said = parsed(worker[probe]["exec"]["command"][1:])
        assert (said["command"], said["kind"]) == ("probe", "live")


def test_the_readiness_of_the_manifest_is_asked_where_the_node_listens(pod: dict[str, Any]) -> None:
    worker = container(pod)
    asked = worker["readinessProbe"]["httpGet"]

    assert asked["path"] == "/readyz"
    assert asked["port"] == worker["ports"][0]["name"]
    scraped = pod["metadata"]["annotations"]
    assert scraped["prometheus.io/path"] == "/metrics"
    assert int(scraped["prometheus.io/port"]) == worker["ports"][0]["containerPort"]


def test_a_pod_has_time_to_finish_and_a_place_for_its_health_file(pod: dict[str, Any]) -> None:
    worker = container(pod)
    env = {entry["name"]: entry["value"] for entry in worker["env"]}

    grace = pod["spec"]["terminationGracePeriodSeconds"]
    assert parsed(worker["command"][1:])["shutdown_timeout"] < grace
    assert "lifecycle" not in worker
    places = {mount["mountPath"] for mount in worker["volumeMounts"]}
    assert env["TASKCTL_RUN_DIR"] in places


def test_comments_of_units_name_commands_that_exist() -> None:
    for path in UNITS:
        for line in re.findall(r"^#   (taskctl .*)$", path.read_text(), re.MULTILINE):
            parsed(shlex.split(line)[1:])
