"""`taskctl probe`: exit 0 for a node that lives, or takes tasks; quick, and without a broker."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from taskctl.core.health import Health, write_health
from taskctl.core.process import birth
from taskctl.multi.nodes import Node, Spec
from taskctl.multi.records import Records, record_of
from taskctl.probing import quick
from taskctl.program import run

from ..support.shell import Shell
from ..support.waiting import eventually

HEADER = "node\tlive\tready\tbeat_age_seconds\treasons\n"


class Host:
    """The run and state folder of a host on which this very process stands for every node."""

    def __init__(self, folder: Path) -> None:
        self.run = folder / "run"
        self.state = folder / "state"

    def node(self, name: str, path: Path | None = None, **changes: object) -> None:
        health = Health(
            node=name, pid=os.getpid(), born=birth(os.getpid()) or "", at=time.time(),
            every=1000.0, ready=True, tick=time.monotonic(),
        )  # fmt: skip
        write_health(str(path or self.run / f"{name}.health"), health._replace(**changes))

    def record(self, name: str, health_file: str) -> None:
        argv = ("python", "-m", "taskctl", "worker", f"--health-file={health_file}")
        node = Node(name, Spec(), argv, f"{self.run}/x.pid", "x.log", health_file)
        Records(str(self.state / "multi")).save(record_of(node, {}))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    found = Host(tmp_path)
    for name in [name for name in os.environ if name.startswith(("TASKCTL_", "CELERY_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TASKCTL_RUN_DIR", str(found.run))
    monkeypatch.setenv("TASKCTL_STATE_DIR", str(found.state))
    monkeypatch.chdir(tmp_path)
    return found


Capture = pytest.CaptureFixture[str]


def probe(capsys: Capture, *words: str) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of the program in a pipe."""
    code = run(["probe", *words])
    said = capsys.readouterr()
    return code, said.out, said.err


def without_age(text: str) -> str:
    """Return an answer with what changes from one moment to the next taken out."""
    if text.startswith("{"):
        document = json.loads(text)
        document.pop("at", None)
        for item in document.get("items", [document]):
            item["beat_age_seconds"] = item["beat_age_seconds"] is not None
        return json.dumps(document)
    return "\n".join(
        "\t".join("AGE" if number == 3 and cell[:1].isdigit() else cell
                  for number, cell in enumerate(line.split("\t")))
        for line in text.split("\n")
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["live", "ready"])
def test_a_node_that_takes_tasks_is_0(host: Host, capsys: Capture, kind: str) -> None:
    host.node("w1@h")

    code, out, err = probe(capsys, kind)

    assert (code, err) == (0, "")
    assert without_age(out) == f"{HEADER}w1@h\ttrue\ttrue\tAGE\t\n"


def test_a_node_that_takes_none_lives_all_the_same(host: Host, capsys: Capture) -> None:
    host.node("w1@h", ready=False, reasons=("the broker is away",))

    assert probe(capsys, "live")[0] == 0
    code, out, _ = probe(capsys, "ready")
    assert code == 1
    assert without_age(out) == f"{HEADER}w1@h\ttrue\tfalse\tAGE\tthe broker is away\n"


def test_a_node_whose_process_is_over_does_not_live(host: Host, capsys: Capture) -> None:
    host.node("w1@h", born="1@another")

    code, out, _ = probe(capsys, "live", "-o", "json")

    document = json.loads(out)
    [item] = document["items"]
    assert (code, document["ok"], document["schema"]) == (1, False, "taskctl/probe/1")
    assert item["reasons"] == [f"process {os.getpid()} is over"]
    assert set(item) == {"node", "live", "ready", "reasons", "beat_age_seconds"}


def test_without_any_node_nothing_lives(host: Host, capsys: Capture) -> None:
    code, out, err = probe(capsys, "live")

    assert (code, err) == (1, "")
    assert out == f"{HEADER}\tfalse\tfalse\t\tno health file in {host.run}\n"
    assert not host.run.exists()


def test_a_full_name_need_not_be_known(host: Host, capsys: Capture) -> None:
    host.node("w1@h")

    code, out, _ = probe(capsys, "live", "-n", "w2@h")

    assert code == 1
    assert out.endswith(f"w2@h\tfalse\tfalse\t\tno health file {host.run}/w2@h.health\n")


def test_a_short_name_stands_for_the_one_node_of_it(host: Host, capsys: Capture) -> None:
    for name in ("w1@h", "w2@h", "w2@i"):
        host.node(name)

    assert probe(capsys, "live", "-n", "w1", "-o", "name")[:2] == (0, "w1@h\n")
    assert probe(capsys, "live", "-n", "w2") == (
        2, "", "error: -n: 'w2' could be w2@h, w2@i: write one in full\n",
    )  # fmt: skip
    assert probe(capsys, "live", "-n", "w3") == (
        2, "",
        "error: -n: no node 'w3' on this host; there are: w1@h, w2@h, w2@i\n"
        "  or write NAME@HOST in full\n",
    )  # fmt: skip


def test_of_several_nodes_one_must_be_named(host: Host, capsys: Capture) -> None:
    host.node("w2@h")
    host.node("w1@h")

    assert probe(capsys, "ready") == (
        2, "",
        "error: 2 nodes are known on this host: w1@h, w2@h\n"
        "  name one: taskctl probe live -n w1@h\n",
    )  # fmt: skip


def test_letters_in_a_name_are_those_of_the_worker(
    host: Host, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "web3.shop")
    host.node("w1@web3.shop")

    assert probe(capsys, "live", "-n", "w1@%h", "-o", "name")[:2] == (0, "w1@web3.shop\n")
    assert probe(capsys, "live", "-n", "w1@%z")[0] == 2


def test_a_health_file_may_be_named(host: Host, capsys: Capture, tmp_path: Path) -> None:
    host.node("w1@h", tmp_path / "own.w1")

    for words in (["own.w1"], ["own.w1", "-n", "w1"], ["own.%n", "-n", "w1@h"]):
        assert probe(capsys, "live", "-o", "name", "--health-file", *words)[:2] == (0, "w1@h\n")
    code, out, _ = probe(capsys, "live", "--health-file", "own.w1", "-n", "w2")
    assert (code, out.splitlines()[1].split("\t")[4]) == (
        1,
        f"{tmp_path}/own.w1 is the file of w1@h",
    )
    assert probe(capsys, "live", "--health-file", "own.%n")[0] == 2


def test_a_file_that_is_none_is_73_and_names_it(host: Host, capsys: Capture) -> None:
    host.run.mkdir()
    (host.run / "w1@h.health").write_text("nonsense")

    code, out, err = probe(capsys, "live", "-j")

    assert (code, out) == (73, "")
    assert err.startswith(f"error: {host.run}/w1@h.health is no health file: ")


def test_a_node_of_multi_is_found_where_it_keeps_its_file(
    host: Host, capsys: Capture, tmp_path: Path
) -> None:
    host.node("w1@h", tmp_path / "elsewhere")
    host.record("w1@h", f"{tmp_path}/elsewhere")
    host.record("w2@h", "none")

    assert probe(capsys, "ready", "-n", "w1", "-o", "name")[:2] == (0, "w1@h\n")
    code, out, _ = probe(capsys, "live", "-n", "w2")
    assert code == 1
    assert out.endswith("it was told to write no health file\n")
    assert quick(["probe", "ready", "-n", "w1"]) is None


def test_a_record_that_cannot_be_read_is_noted_and_no_hindrance(
    host: Host, capsys: Capture
) -> None:
    host.node("w1@h")
    host.record("w2@h", "elsewhere")
    (host.state / "multi" / "w2@h.json").write_text('"--health-file')

    code, _, err = probe(capsys, "live")

    assert code == 0
    assert err.startswith("note: cannot read the record ")


def test_in_a_table_the_outcome_is_a_sentence(host: Host, capsys: Capture) -> None:
    host.node("w1@h", ready=False, reasons=("quiet", "the broker is away"))

    code, out, err = probe(capsys, "ready", "-o", "table")

    assert code == 1
    title, line = out.splitlines()
    assert title.split() == ["NODE", "LIVE", "READY", "BEAT", "REASONS"]
    assert line.split()[:3] == ["w1@h", "yes", "no"]
    assert err == "w1@h lives and takes no tasks: quiet; the broker is away\n"
    assert probe(capsys, "ready", "-o", "table", "-q")[2] == ""


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "error: taskctl probe wants live|ready, got nothing\n"),
        (["alive"], "error: live|ready: 'alive' is not one of 'live', 'ready'\n"),
        (["live", "-n"], "error: option '-n' requires an argument\n"),
        (["live", "--nod"], "error: no option --nod in taskctl probe\n  did you mean: --node"),
        (["live", "-o", "celery"], "error: -o celery does not exist for this command"),
        (["live", "-o", "xml"], "error: -o xml: choose from"),
    ],
)
def test_wrong_use_is_2_in_one_line(
    host: Host, capsys: Capture, words: list[str], error: str
) -> None:
    code, out, err = probe(capsys, *words)

    assert (code, out) == (2, "")
    assert err.startswith(error)
    assert quick(["probe", *words]) is None


@pytest.mark.parametrize("format", ["plain", "json", "jsonl", "name"])
@pytest.mark.parametrize("case", ["ready", "not ready", "over", "nobody"])
def test_the_quick_answer_is_that_of_the_whole_program(
    host: Host, capsys: Capture, format: str, case: str
) -> None:
    if case != "nobody":
        reasons = () if case == "ready" else ("one, two", "tab\there")
        host.node("wü@h", ready=case == "ready", reasons=reasons)
    if case == "over":
        host.node("wü@h", born="1@another")
    words = ["ready", "-q", "-o", format]

    whole = probe(capsys, *words)
    code = quick(["probe", *words])
    out = capsys.readouterr().out

    assert (code, without_age(out)) == (whole[0], without_age(whole[1]))


@pytest.mark.parametrize(
    "prepare",
    [
        lambda host, patch: patch.setenv("TASKCTL_OUTPUT", "json"),
        lambda host, patch: patch.setenv("TASKCTL_PROBE_NODE", "w1@h"),
        lambda host, patch: Path("taskctl.toml").write_text('output = "json"\n'),
        lambda host, patch: Path("pyproject.toml").write_text('[tool.taskctl]\nworkdir = "/"\n'),
        lambda host, patch: patch.setattr("sys.stdout.isatty", lambda: True),
    ],
)
def test_what_else_may_have_a_say_gets_the_whole_program(
    host: Host, monkeypatch: pytest.MonkeyPatch, prepare: object
) -> None:
    host.node("w1@h")

    prepare(host, monkeypatch)  # type: ignore[operator]

    assert quick(["probe", "live"]) is None


def test_the_environment_names_the_node(
    host: Host, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.node("w1@h")
    host.node("w2@h")
    monkeypatch.setenv("TASKCTL_PROBE_NODE", "w2")

    assert probe(capsys, "live", "-o", "name")[:2] == (0, "w2@h\n")


def test_a_project_file_that_only_names_the_app_costs_nothing(host: Host, capsys: Capture) -> None:
    host.node("w1@h")
    Path("pyproject.toml").write_text('[tool.taskctl]\napp = "proj"\n')

    assert quick(["probe", "live"]) == 0


def test_a_probe_loads_nothing_that_takes_time_and_takes_60_ms_at_most(host: Host) -> None:
    host.node("w1@h")
    script = (
        "import sys; from taskctl.cli import main; code = main(['probe', 'ready', '-n', 'w1'])\n"
        "heavy = ('click', 'rich', 'redis', 'msgspec', 'logging', 'dataclasses', 'inspect')\n"
        "print(code, [name for name in heavy if name in sys.modules])"
    )

    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert loaded.stdout.splitlines()[-1] == "0 []", loaded.stderr
    # The least of several: what else this machine does is none of a probe's doing.
    assert min(_cpu_seconds("probe", "ready", "-n", "w1") for _ in range(8)) <= 0.060


def _cpu_seconds(*words: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "taskctl", *words], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_real_node_is_probed_from_its_start_to_its_end(shell: Shell) -> None:
    node = shell.node("w1")
    at_work = shell.run("probe", "ready", "-n", "w1")
    by_itself = shell.run("probe", "ready")
    node.terminate()
    assert node.wait(20) == 0
    over = shell.run("probe", "live", "-n", "w1@h")

    assert (at_work.code, by_itself.code, over.code) == (0, 0, 1)
    assert at_work.out.startswith(f"{HEADER}w1@h\ttrue\ttrue\t")


def test_a_node_that_was_killed_does_not_live(shell: Shell) -> None:
    node = shell.node("w1")
    node.kill()
    node.wait(10)

    said = shell.run("probe", "live", "-n", "w1")

    assert said.code == 1
    assert said.out.endswith(f"process {node.pid} is over\n")


def test_a_node_of_multi_with_a_file_of_its_own_is_found(shell: Shell) -> None:
    started = shell.run("multi", "start", "w1", "-A", "proj", "--health-file=own/%n.health")
    found = shell.run("probe", "ready", "-n", "w1", "-o", "json")
    shell.run("multi", "stopwait", "w1")

    assert started.code == 0, started.err
    assert found.code == 0, found.out
    assert found.json["items"][0]["node"].startswith("w1@")
    eventually(lambda: shell.run("probe", "live", "-n", "w1").code == 1)
