"""graph: the fleet and the parts of a worker in DOT, true to what there is."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner, Result

from taskctl import program
from taskctl.commands.graph_parts import CONSUMER, PARTS, WORKER
from taskctl.core.app import App
from taskctl.core.worker.options import WorkerOptions
from taskctl.core.worker.worker import Worker
from taskctl.views.graph import Vertex, dot_lines

from ..support.shell import Shell


def _run(*words: str) -> Result:
    @click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
    @click.argument("words", nargs=-1, type=click.UNPROCESSED)
    @click.pass_context
    def whole(ctx: click.Context, words: tuple[str, ...]) -> None:
        ctx.exit(program.run(words))

    return CliRunner().invoke(whole, words)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """One node, w1@h, with two children."""
    shell = Shell(tmp_path_factory.mktemp("graph"))
    try:
        shell.node("w1")
        yield shell
    finally:
        shell.close()


def test_live_nodes_are_drawn_with_their_children(fleet: Shell) -> None:
    done = fleet.proj("graph", "workers")

    assert done.code == 0
    lines = done.out.splitlines()
    assert (lines[0], lines[-1]) == ("digraph dependencies {", "}")
    assert re.search(r'"w1@h" -> "sqlite:///', done.out)
    assert done.out.count('-> "w1@h" [') == 2


def test_the_fleet_is_json_too(fleet: Shell) -> None:
    document = fleet.proj("graph", "workers", "-o", "json").json

    assert document["schema"] == "taskctl/graph.workers/1"
    kinds = [item["kind"] for item in document["items"]]
    assert kinds[0] == "broker"
    assert kinds[-3:] == ["worker", "child", "child"]
    assert document["items"][-1] == {
        "name": "thr-2", "kind": "child", "label": "1", "needs": ["w1@h"],
    }  # fmt: skip


def test_nobody_to_draw_is_exit_69(shell: Shell) -> None:
    done = shell.proj("graph", "workers")

    assert (done.code, done.out) == (69, "")
    assert done.err.startswith("error: no worker answered in ")


def test_one_node_may_be_named() -> None:
    done = _run("graph", "workers", "nodes:alone", "threads:2", "broker:redis://:canary@h/0")

    assert done.exit_code == 0
    assert '"alone" -> "redis://' in done.stdout
    assert "canary" not in done.stdout


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["graph", "workers", "node:a"], "graph workers: no 'node' here: choose from nodes,"),
        (["graph", "workers", "nodes:a", "threads:x"], "graph workers: threads:x: whole number"),
        (["graph", "workers", "threads:2"], "graph workers: threads goes with nodes"),
        (["graph", "bootsteps", "beat"], "graph bootsteps: no 'beat' here"),
        (
            ["graph", "bootstep"],
            "no command 'bootstep' in taskctl graph\n  did you mean: bootsteps",
        ),
    ],
)
def test_wrong_usage_is_exit_2(words: list[str], error: str) -> None:
    done = _run(*words)

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {error}"), done.stderr


def test_bootsteps_are_those_of_the_worker() -> None:
    options = WorkerOptions("w1@h", queues=[], concurrency=1)
    worker = Worker(App("parts", broker="memory://"), options)

    for part in (*WORKER, *CONSUMER):
        assert hasattr(worker, part.attribute), part.name
    names = [part.name for part in (*WORKER, *CONSUMER)]
    assert {need for part in (*WORKER, *CONSUMER) for need in part.needs} <= set(names)


def test_bootsteps_stand_in_the_order_in_which_a_worker_starts_them() -> None:
    opened = re.findall(r"self\.(\w+)(?:\.connection)?\.(?:open|renew)\(", _source_of_start())
    started = [part.attribute for half in PARTS.values() for part in half]

    there = [name for name in opened if name in started]

    assert [name for name in started if name in there] == list(dict.fromkeys(there))


def test_half_of_the_bootsteps_is_drawn_if_told_so() -> None:
    both, consumer = _run("graph", "bootsteps"), _run("graph", "bootsteps", "CONSUMER")

    assert '"Connection" -> "Pool"' in both.stdout
    assert '"Pool"' not in consumer.stdout
    assert '"Admission" -> "Queues"' in consumer.stdout


def test_names_with_quotes_do_not_break_a_graph() -> None:
    lines = list(dot_lines([Vertex('a "b" \\c')]))

    assert lines[2].startswith('    "a \\"b\\" \\\\c" [shape=')


def _source_of_start() -> str:
    """The lines of `Worker.open`, with those of `_connect` where it is called."""
    text = inspect.getsource(Worker.open)
    return text.replace("self._connect()", inspect.getsource(Worker._connect))
