"""A fleet with some of everything in it, and command lines that run against it."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass

from .nodes import STAND_IN
from .shell import Said, Shell
from .waiting import eventually

#: What the project has beside what every Shell has.
PROJECT = """
from taskctl.core.remote.panel import control_command, inspect_command

app.conf.beat_schedule = {"tick": {"task": "proj.celery.add", "schedule": 3600.0, "args": (1, 1)}}

@app.task
def idle():
    pass

@app.task
def boom():
    raise ValueError("broken as asked")

@inspect_command()
def quota(state, **kwargs):
    "Show the quota of nodes."
    return {"quota": 3}

@control_command(args=[("limit", int)], signature="<limit>")
def set_quota(state, limit):
    "Set the quota of this node"
    return {"ok": f"quota is now {limit}"}
"""

#: Sent before any test looks.
SEND = """
import json, os
from proj.celery import add, app, boom, nap

nap.delay(300)
late = add.apply_async((1, 2), countdown=3600)
done, bad = add.delay(1, 2), boom.delay()
for _ in range(3):
    app.send_task("no.such", (1,))
for _ in range(2):
    app.send_task("proj.celery.add", (1, 2), queue="images")
with app.connection(f"sqlite:///{os.getcwd()}/a.db") as other:
    app.send_task("t", connection=other, queue="old")
done.get(timeout=20)
bad.get(timeout=20, propagate=False)
print(json.dumps({"late": late.id, "done": done.id, "bad": bad.id}))
"""

#: Runs command lines in one process, each as if alone.
DRIVER = """
import contextlib, io, json, os
from taskctl.program import run

said = []
with open("lines.json") as file:
    lines = json.load(file)
os.environ["TASKCTL_ERRORS"] = "json"
for words in lines:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(words)
    said.append([code, out.getvalue(), err.getvalue()])
with open("said.json", "w") as file:
    json.dump(said, file)
"""


#: Commands whose second word is no command.
SINGLE = frozenset("status top doctor report result version call purge migrate man".split())


@dataclass(frozen=True)
class Line:
    """A command line, the name of its schema, and how it ends."""

    words: tuple[str, ...]
    schema: str
    exit: str = "0"

    def __str__(self) -> str:
        return shlex.join(self.words)


class Fleet:
    """Two nodes, a beat, work of all kinds, dead letters, and a queue that nobody takes from."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        (shell.folder / "conf.py").write_text(
            "BROKER_URL = 'redis://:hunter2@h'\nCELERYD_POOL = 'solo'\n"
        )
        (shell.folder / "taskctl.toml").write_text("worker_timer_precision = 5\n")
        with (shell.folder / "proj" / "celery.py").open("a") as file:
            file.write(PROJECT)
        shell.node("w1", "-E", "worker_pool_restarts=true")
        shell.node("w2", "-Q", "other", "--autoscale=4,2")
        shell.start("-A", "proj", "beat")
        self.heard = shell.start("-A", "proj", "events", "--json")
        self.ids = dict(folder=str(shell.folder), node=str(STAND_IN))
        self.ids |= json.loads(shell.python(SEND))
        looks = ["dlq ls -o name", "inspect active -o name", "beat status -o name"]
        eventually(lambda: self._settled(looks), within=30)

    def _settled(self, looks: list[str]) -> bool:
        said = self.run([shlex.split(look) for look in looks])
        dead, busy, beat = ([] if one.code else one.out.split() for one in said)
        self.ids["dead"] = dead[0] if dead else ""
        return len(dead) == 3 and len(busy) == 1 and beat == ["tick"]

    def run(self, lines: list[list[str]]) -> list[Said]:
        """Run command lines with this project, all in one process."""
        shell = self.shell
        (shell.folder / "lines.json").write_text(json.dumps([["-A", "proj", *w] for w in lines]))
        shell.python(DRIVER)
        found = json.loads((shell.folder / "said.json").read_text())
        return [Said(code, out, err) for code, out, err in found]

    def lines(self, table: str) -> list[Line]:
        """Read a table of lines `WORDS => SCHEMA, exit CODE`; what is plain is left out."""
        return [self._line(row) for row in table.splitlines() if row]

    def _line(self, row: str) -> Line:
        text, _, told = row.partition("=>")
        words = shlex.split(text.format(**self.ids))
        name, _, code = told.partition(", exit ")
        guess = words[0] if words[0] in SINGLE else ".".join(words[:2]).replace(".--", ".")
        return Line(tuple(words), name.strip() or guess, code.strip() or "0")
