"""Every document that a command prints, of a fleet that runs, meets its schema in docs/schema."""

from __future__ import annotations

import fnmatch
import itertools
import json
import shlex
from collections.abc import Iterator
from typing import Any

import click
import pytest
from jsonschema import Draft202012Validator

from taskctl.core.remote.vocabulary import COMMANDS as REMOTE
from taskctl.multi.grammar import COMMANDS as MULTI
from taskctl.program import Program, run

from ..support.fleet import Fleet, Line
from ..support.nodes import Host
from ..support.schemas import FOLDER, Schemas, oddities, printed_words
from ..support.servers import RabbitServer
from ..support.shell import Said, Shell

#: What only looks, and with `-o jsonl` and `--fields` looks again. {words} are ids of the fleet.
LOOKS = """
status
status -d w1,gone@h -t 0.3                => status, exit 3
inspect active
inspect active_queues
inspect clock
inspect conf
inspect memsample
inspect memdump
inspect objgraph                          => inspect.objgraph, exit any
inspect ping
inspect query_task {late}
inspect registered
inspect report
inspect reserved
inspect revoked
inspect scheduled
inspect stacks
inspect stats
inspect quota                             => inspect
inspect --list
control --list
beat status
queue ls
queue show celery
queue peek images
dlq ls
dlq show {dead}
top --once
probe live -n w1@h                        => probe
probe ready -n w1@h                       => probe
probe ready -n gone@h                     => probe, exit 1
doctor                                    => doctor, exit 1
config show -a
config get broker_url
config explain worker_concurrency
config diff app conf.py                   => config.diff, exit 1
config check                              => config.check, exit 78
config humanize
config censor conf.py
report
list bindings
graph bootsteps
graph workers
result {done}
result {bad}                              => result, exit 1
wait queue.images.depth>0                 => wait
logtool stats err
logtool traces err
logtool errors err
logtool incomplete err
logtool debug err
version
man status
man --list                                => man.list
help config diff                          => help
completion bash                           => completion
multi names 2
multi show 2
multi expand %n.log 2
multi get w1 w1 w2
multi help                                => help
upgrade settings conf.py --dry-run
init shop --dry-run                       => init
purge --dry-run
queue delete images --dry-run
dlq drop --all --dry-run
dlq retry --all --dry-run
migrate sqlite:///{folder}/a.db sqlite:///{folder}/b.db --dry-run
control shutdown --dry-run                => control.dry_run
worker --check                            => worker.check
"""

#: What changes something, once each, in this order.
CHANGES = """
call proj.celery.add -a [1,2]
call proj.celery.add -a [1,2] --wait 20
call proj.celery.boom --wait 20           => call, exit 1
control add_consumer more
control cancel_consumer more
control autoscale 3 1 -d w2
control disable_events
control enable_events
control election e task proj.celery.idle
control heartbeat
control pool_grow 1                       => control.pool_grow, exit 1
control pool_shrink 1 -d w1
control pool_restart -d w1
control quiet
control unquiet
control rate_limit proj.celery.add 100/s
control rate_limit no.such 1/s            => control.rate_limit, exit 1
control time_limit proj.celery.add 1 2
control revoke x
control revoke_by_stamped_headers a=1
control terminate TERM x
control set_quota 4                       => control
queue pause images
queue resume images
queue delete images -f
dlq retry {dead}
dlq drop --all -f
purge -f
migrate sqlite:///{folder}/a.db sqlite:///{folder}/b.db -t 0.1
multi start s1 s2 --cmd={node}
multi start s3 --cmd={node} --include=die-78   => multi.start, exit 1
multi status                              => multi.status, exit 3
multi logs s3
multi restart s1
multi stop s2
multi stopwait s2
multi kill s1 --dry-run
multi kill s1
multi forget s1 s2 s3
upgrade settings conf.py
init shop                                 => init
"""

#: What fails before it has a document: exit code, and the word of the error.
FAILURES = """
status -b redis://127.0.0.1:1/0           => 69 broker
status -d gone@h -t 0.2                   => 69 no_reply
inspect active -b redis://127.0.0.1:1 -t 1 => 69 broker
inspect query_task                        => 2 usage
inspect nothing                           => 2 usage
control rate_limit proj.celery.add        => 2 usage
queue ls -A nowhere                       => 2 app
queue ls --fields nothing                 => 2 usage
queue ls --where nothing==1               => 2 usage
queue show nothing                        => 1 failed
dlq show 0123456789                       => 1 failed
purge                                     => 2 usage
config get nothing                        => 2 usage
result 0123456789 --timeout 0.1           => 124 timeout
wait queue.nothing.depth>0 --timeout 0.1  => 124 timeout
logtool stats nothing.log                 => 1 system
multi start                               => 2 usage
multi start w1 --pidfile=%q.pid           => 2 usage
nothing                                   => 2 usage
status --nothing                          => 2 usage
upgrade settings nothing.py               => 1 system
version more                              => 2 usage
"""

#: Commands without a document: they stay, or are a session.
STAYING = {"worker", "beat", "shell", "events"}


@pytest.fixture(scope="module")
def schemas() -> Schemas:
    return Schemas()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    shell = Shell(folder)
    try:
        yield Fleet(shell)
    finally:
        shell.close()
        Host(folder).kill_all()


# The tests below build on each other's fleet: the lookers come first, then what changes it.


def test_every_schema_is_one() -> None:
    for path in FOLDER.glob("*.json"):
        Draft202012Validator.check_schema(json.loads(path.read_text()))


def test_every_word_that_the_code_prints_has_a_schema(schemas: Schemas) -> None:
    unknown = [word for word in printed_words() if not fnmatch.filter(schemas.by_name, word)]

    assert unknown == []


def test_every_command_is_run_below(fleet: Fleet) -> None:
    typed = {line.words for line in fleet.lines(LOOKS + CHANGES)}
    known = {words[:depth] for words in typed for depth in (1, 2)}

    missing = [path for path in _paths() if path not in known and path[0] not in STAYING]

    assert missing == [("amqp",)], "which has a test of its own"


def _paths() -> Iterator[tuple[str, ...]]:
    """Yield all commands as they are typed."""
    program = Program()
    with click.Context(program) as ctx:
        for name in program.list_commands(ctx):
            command = program.get_command(ctx, name)
            if isinstance(command, click.Group) and name != "amqp":
                yield from ((name, below) for below in command.commands)
            elif name not in ("inspect", "control", "multi"):
                yield (name,)
    yield from (("multi", word) for word in MULTI)
    yield from ((one.kind, one.name) for one in REMOTE.values() if not one.hidden)


def test_what_looks_prints_one_document(fleet: Fleet, schemas: Schemas) -> None:
    lines = fleet.lines(LOOKS)

    said = fleet.run([[*line.words, "-o", "json"] for line in lines])

    found = [_wrong(schemas, *pair) for pair in zip(lines, said, strict=True)]
    assert list(itertools.chain(*found)) == []
    held = [one.json.get("items") or one.json.get("nodes") for one in said]
    assert [str(line) for line, one in zip(lines, held, strict=True) if not one] == []


def _wrong(schemas: Schemas, line: Line, said: Said) -> list[str]:
    """Return what is wrong with a document."""
    if line.exit != "any" and str(said.code) != line.exit:
        return [f"{line}: exit {said.code}: {said.err}{said.out[:200]}"]
    if said.out.count("\n") != 1:
        return [f"{line}: printed {said.out!r}, said {said.err!r}"]
    found = schemas.misfits(said.json, line.schema) + list(oddities(said.json))
    return [f"{line}: {one}" for one in found]


def test_lines_are_what_the_schemas_say(fleet: Fleet, schemas: Schemas) -> None:
    lines = fleet.lines(LOOKS)

    said = fleet.run([[*line.words, "-o", "jsonl"] for line in lines])

    found = [
        fault for pair in zip(lines, said, strict=True) for fault in _wrong_lines(schemas, *pair)
    ]
    assert found == []


def _wrong_lines(schemas: Schemas, line: Line, said: Said) -> list[str]:
    if not schemas.lines(line.schema):
        refused = said.code == 2 and not said.out and "-o jsonl does not exist" in said.err
        return [] if refused else [f"{line}: no lines in its schema, but it prints {said.out!r}"]
    if line.exit != "any" and str(said.code) != line.exit:
        return [f"{line}: exit {said.code}: {said.err}"]
    objects = [json.loads(one) for one in said.out.splitlines()]
    faults = [fault for one in objects for fault in schemas.misfits(one, line.schema, "line")]
    return [f"{line}: {fault}" for fault in faults + list(oddities(objects))]


@pytest.mark.parametrize(
    "words",
    [
        "status --fields state,pid", "inspect active --fields id,name", "queue ls --fields queue",
        "queue peek images --fields id", "dlq ls --fields id,task --sort failed_at",
        "config show --fields key,value", "config check --fields key", "doctor --fields check",
        "list bindings --fields queue", "logtool stats err --fields task",
        "beat status --fields entry",
    ],
)  # fmt: skip
def test_fields_leave_a_document_with_less(fleet: Fleet, schemas: Schemas, words: str) -> None:
    name = words.partition(" --fields")[0].replace(" images", "").replace(" err", "")

    (said,) = fleet.run([[*words.split(), "-o", "json"]])

    assert schemas.misfits_of_some(said.json, name.replace(" ", ".")) == [], said.err
    held = said.json.get("items") or list(said.json.get("nodes", {}).values())
    wanted = words.split()[words.split().index("--fields") + 1].split(",")
    assert all(key in json.dumps(one) for one in held if one != {"ok": []} for key in wanted)


def test_dash_j_is_celerys_shape(fleet: Fleet, schemas: Schemas) -> None:
    asked = [line for line in fleet.lines(LOOKS) if line.words[0] in ("status", "inspect")]
    asked = [line for line in asked if line.words[-1] not in ("quota", "--list")]
    obeyed = fleet.lines("control enable_events\ncontrol rate_limit no.such 1/s => x, exit 1")
    lines = [Line(line.words, f"celery.{line.schema}", line.exit) for line in asked]
    lines += [Line(line.words, "celery.control", line.exit) for line in obeyed]

    said = fleet.run([[*line.words, "-j"] for line in lines])

    found = []
    for line, one in zip(lines, said, strict=True):
        found += [f"{line}: {fault}" for fault in schemas.misfits(one.json, line.schema)]
        assert line.exit in ("any", str(one.code)), (str(line), one)
    assert found == []


def test_an_error_leaves_stdout_empty_and_is_one_line_of_json(
    fleet: Fleet, schemas: Schemas
) -> None:
    rows = [row.partition("=>") for row in FAILURES.strip().splitlines()]
    lines = [shlex.split(text) for text, _, _ in rows]

    said = fleet.run([[*words, "-q", *format.split()] for words in lines for format in ("-j", "")])

    for number, one in enumerate(said):
        text, _, wanted = rows[number // 2]
        assert one.out == "" or number % 2, text
        (line,) = one.err.splitlines()
        error = json.loads(line)
        assert schemas.misfits(error, "error") == [], text
        told = f"{error['error']['exit']} {error['error']['code']}"
        assert (told, one.code) == (wanted.strip(), error["error"]["exit"]), (text, line)


def test_what_changes_something_prints_one_document(fleet: Fleet, schemas: Schemas) -> None:
    lines = fleet.lines(CHANGES)

    said = fleet.run([[*line.words, "-o", "json"] for line in lines])

    found = [_wrong(schemas, *pair) for pair in zip(lines, said, strict=True)]
    assert list(itertools.chain(*found)) == []


def test_events_are_lines(fleet: Fleet, schemas: Schemas) -> None:
    heard = fleet.heard
    assert heard.stdout is not None and heard.stdout.readline(), "a heartbeat, so it listens"
    fleet.run([["call", f"proj.celery.{name}", "--wait", "20"] for name in ("idle", "boom")])

    wanted = {"task-received", "task-started", "task-succeeded", "task-failed"}
    events = []
    while wanted - {event["type"] for event in events}:
        events.append(json.loads(heard.stdout.readline()))
    assert [fault for one in events for fault in schemas.misfits(one, "events")] == []
    assert [fault for one in events for fault in oddities(one["at"])] == []


def test_a_node_that_goes_down_answers_before(fleet: Fleet, schemas: Schemas) -> None:
    (said,) = fleet.run([["control", "shutdown", "-o", "json"]])

    assert said.code == 0
    assert schemas.misfits(said.json, "control.shutdown") == []


def test_amqp_prints_one_document_a_word(
    rabbitmq_server: RabbitServer, schemas: Schemas, capfd: pytest.CaptureFixture[str]
) -> None:
    def say(words: str, format: str) -> Any:
        code = run(["amqp", "-b", rabbitmq_server.url, *words.split(), "-q", "-o", format])
        said = capfd.readouterr()
        assert (code, said.err) == (0, ""), words
        return json.loads(said.out)

    for words in (
        "queue.declare q", "exchange.declare x topic", "queue.bind q x png.*",
        "basic.publish hello x png.small", "basic.get q yes", "basic.get q", "queue.purge q",
        "exchange.delete x", "queue.delete q",
    ):  # fmt: skip
        document = say(words, "json")
        assert schemas.misfits(document, "amqp") == []
        assert document["items"][0]["command"] == words.partition(" ")[0]
    assert schemas.misfits(say("queue.declare q", "jsonl"), "amqp", "line") == []
    say("queue.delete q", "json")


def test_every_schema_was_met_by_something(schemas: Schemas) -> None:
    unused = set(schemas.by_name) - schemas.used - {"common"}

    assert unused - {"amqp"} == set(), "only a RabbitMQ server may be missing here"
