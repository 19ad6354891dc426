"""A password, put wherever one can be, is in nothing that the program says.

The canary stands in every form of URL, option, variable and setting, and every command is run,
also wrongly. Then a real node and a real server with that password are asked everything.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from taskctl.program import COMMANDS

from .support.servers import RedisServer
from .support.shell import Shell
from .support.waiting import eventually

CANARY = "Kanari3nvogel7"
DRIVER = Path(__file__).parent / "support" / "many_commands.py"
ADDRESS = "127.0.0.1:1"


@dataclass
class Form:
    """One way to give the program a password."""

    name: str
    words: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    conf: str = ""
    toml: str = ""


#: Broker URLs, right and wrong; C stands for the canary.
URLS = {
    "redis": f"redis://:C@{ADDRESS}/0",
    "redis-user": f"redis://ops:C@{ADDRESS}/0",
    "rediss": f"rediss://ops:C@{ADDRESS}/0?ssl_cert_reqs=none",
    "escaped": f"redis://:a%40C%2Fb@{ADDRESS}/0",
    "unescaped": f"redis://:a#C/b@{ADDRESS}/0",
    "query": f"redis://{ADDRESS}/0?password=C",
    "amqp": f"amqp://guest:C@{ADDRESS}//",
    "sqlite": "sqlite:///x.db?password=C&cipher_key=C&token=C",
    "alternates": f"redis://:C@{ADDRESS}/0;redis://:C@127.0.0.1:2/0",
    "alternates-mixed": f"redis://127.0.0.1:2/0;amqp://u:C@{ADDRESS}",
    "sentinels": f"sentinel://:C@{ADDRESS};sentinel://:C@127.0.0.1:2",
    "socket": "redis+socket://:C@/nowhere/redis.sock?virtual_host=0",
    "unknown-scheme": "kafka://u:C@h:9092",
    "no-scheme": "ops:C@127.0.0.1:6379",
    "one-slash": f"redis:/:C@{ADDRESS}/0",
    "bad-port": "redis://:C@127.0.0.1:port/0",
    "bad-db": f"redis://:C@{ADDRESS}/zero",
    "blank": f"redis://:a C@{ADDRESS}/0",
}
BACKENDS = {
    "redis": f"redis://:C@{ADDRESS}/1",
    "db": "db+postgresql://u:C@h/db",
    "mongodb": "mongodb://u:C@h:1,g:2/db?authSource=x",
    "rpc": "rpc://u:C@h",
    "cache": "cache+memcached://u:C@h:1/",
    "module": "proj.nowhere:Backend?password=C",
}
SETTINGS = {
    "read-write": f"broker_read_url = 'redis://:C@{ADDRESS}'\nbroker_write_url = 'redis://r:C@{ADDRESS}'",
    "options": (
        f"broker_url = 'redis://{ADDRESS}'\nbroker_transport_options = {{'password': 'C',"
        " 'sentinel_kwargs': {'password': 'C'}, 'nodes': ['redis://:C@h'], 'api_key': 'C'}"
    ),
    "parts": (
        "broker_host = '127.0.0.1'\nbroker_port = 1\nbroker_transport = 'redis'\n"
        "broker_password = 'C'"
    ),
    "redis": (
        "result_backend = 'redis'\nredis_host = '127.0.0.1'\nredis_port = 1\nredis_password = 'C'"
    ),
    "others": (
        "security_key_password = 'C'\ndatabase_url = 'postgresql://u:C@h/x'\nMY_DSN = 'C'\n"
        "s3_secret_access_key = 'C'\n"
        "result_backend_transport_options = {'credentials': ('u', 'C')}\n"
        "broker_use_ssl = {'ssl_keyfile_password': 'C'}\n"
        "cassandra_auth_kwargs = {'username': 'u', 'password': 'C'}\n"
        "couchbase_backend_settings = {'host': 'h', 'password': 'C'}"
    ),
    "wrong": "task_acks_late = 'redis://:C@h'\nbrokr_url = 'redis://:C@h'\nredis_password = ['C']",
    "raises": "raise ValueError('cannot reach redis://:C@h, password=C')",
    "beat": (
        "beat_schedule = {'x': {'task': 'proj.celery.add', 'schedule': 1.0,"
        " 'options': {'headers': {'token': 'C'}}, 'kwargs': {'url': 'redis://:C@h'}}}"
    ),
}


def forms() -> Iterator[Form]:
    for name, url in URLS.items():
        yield Form(f"-b {name}", words=["-b", url])
    for name, url in BACKENDS.items():
        yield Form(f"--result-backend {name}", words=["--result-backend", url])
    for name, conf in SETTINGS.items():
        yield Form(f"settings {name}", conf=conf)
    for variable in ("TASKCTL_BROKER_URL", "CELERY_BROKER_URL", "TASKCTL_BROKER_READ_URL",
                     "TASKCTL_BROKER_WRITE_URL", "BROKER_URL"):  # fmt: skip
        yield Form(variable, env={variable: URLS["redis"]})
    for variable in ("TASKCTL_RESULT_BACKEND", "CELERY_RESULT_BACKEND"):
        yield Form(variable, env={variable: BACKENDS["redis"]})
    yield Form("TASKCTL_WORKER_OVERRIDES", env={"TASKCTL_WORKER_BROKER": URLS["redis"]})
    yield Form("toml file", toml=f"broker_url = '{URLS['redis']}'\nredis_password = 'C'\n")
    yield Form("toml table", toml=f"[broker]\nurl = '{URLS['redis']}'\npassword = 'C'\n")
    yield Form("toml broken", toml=f"broker_url = '{URLS['redis']}' 'C'\n")


#: What is run with every form.
SHORT = [
    ["config", "show"],
    ["config", "show", "-a", "-o", "json"],
    ["config", "get", "broker_url"],
    ["config", "explain", "broker_url"],
    ["config", "diff", "app", "default"],
    ["config", "check"],
    ["config", "humanize", "--with-defaults"],
    ["report"],
    ["report", "-o", "json"],
    ["-v", "status", "-t", "0.2"],
    ["-v", "call", "x"],
    ["-v", "worker", "--check"],
    ["doctor", "-v", "--timeout", "0.5"],
]
#: What is run besides with some forms, by command; each is run with -v once more.
LONG: dict[str, list[list[str]]] = {
    "worker": [
        ["--check", "redis_password=C", f"broker_url=redis://:C@{ADDRESS}"],
        ["--check", f"result_backend=redis://:C@{ADDRESS}"],
        ["--check", f"brokr_url=redis://:C@{ADDRESS}"],
        ["--check", "worker_concurrency=redis://:C@h"],
        ["-c", "redis://:C@h"],
        ["--check", "-Q", "redis://:C@h"],
    ],
    "multi": [
        ["show", "2", "-b", URLS["redis"], "--result-backend", BACKENDS["redis"]],
        ["show", "2", "-b:1", URLS["redis"], "-o", "json"],
        ["show", "w1", f"--broker={URLS['redis']}", "--", "redis_password=C"],
        ["expand", "%n", "2", "-b", URLS["redis"]],
        ["get", "w1", "w1", "-b", URLS["redis"]],
        ["names", "2", "-b", URLS["redis"]],
        ["start", "w1", "--no-such", URLS["redis"]],
        ["status"],
    ],
    "beat": [["--no-such", "redis://:C@h"]],
    "status": [["-j"], ["-o", "json"], ["redis://:C@h"]],
    "top": [["--once"]],
    "inspect": [["ping", "-t", "0.3", "-j"], ["conf", "-t", "0.2"], ["nonsense", "redis://:C@h"]],
    "control": [
        ["ping", "-t", "0.2"],
        ["rate_limit", "redis://:C@h"],
        ["revoke", "redis://:C@h", "-t", "1"],
    ],
    "events": [["--no-such", "redis://:C@h"]],
    "queue": [["ls"], ["show", "redis://:C@h"]],
    "dlq": [["ls"], ["drop", "redis://:C@h", "--dry-run"]],
    "call": [["x", "-a", "redis://:C@h"], ["x", "--eta", "redis://:C@h"], ["x", "--wait", "0.1"]],
    "result": [["redis://:C@h", "--timeout", "0.1"], ["x", "-t", "redis://:C@h"]],
    "purge": [["-f"], ["-f", "-Q", "redis://:C@h"]],
    "wait": [["workers.ready>=1", "--timeout", "0.3"], ["redis://:C@h == 1"]],
    "probe": [["live", "-n", "redis://:C@h"]],
    "doctor": [["-o", "json", "--timeout", "1"], ["-o", "plain", "--timeout", "1"]],
    "config": [
        ["get", "redis://:C@h"],
        ["explain", "result_backend", "-o", "json"],
        ["explain", "broker_transport_options"],
        ["diff", "app", "proj/conf.py", "-o", "json"],
        ["diff", "app", "redis://:C@h"],
        ["diff", "default", "w1@h", "-t", "0.2"],
        ["check", "-o", "json"],
        ["humanize", "--no-censor"],
        ["censor", "proj/conf.py"],
        ["censor", "proj/conf.py", "-o", "json"],
    ],
    "report": [["redis://:C@h"], ["-o", "table"]],
    "list": [["bindings"]],
    "graph": [["workers", "broker:redis://:C@h", "backend:redis://:C@g"], ["bootsteps"]],
    "migrate": [[URLS["redis"], f"redis://:C@{ADDRESS}/3", "-y", "-n", "1"], [URLS["redis"]]],
    "amqp": [["queue.declare", "x"], ["redis://:C@h"]],
    "logtool": [["stats", "redis://:C@h"]],
    "shell": [["-c", "print(app, app.conf, app.shared_connection(), app.backend)"],
              ["-c", "raise ValueError(app.conf.broker_url)"]],
    "init": [["x", "--name", "redis://:C@h", "--dry-run"]],
    "upgrade": [["settings", "proj/conf.py", "--dry-run"], ["settings", "redis://:C@h"]],
    "completion": [["redis://:C@h"]],
    "man": [["redis://:C@h"]],
    "help": [["redis://:C@h"]],
    "version": [["-v"]],
}  # fmt: skip
THOROUGH = ("-b redis", "-b no-scheme", "settings parts", "settings options")

GLOBALS = [["--color", "redis://:C@h"], ["-o", "redis://:C@h", "report"], ["redis://:C@h"],
           ["-A", "redis://:C@h", "report"], ["--config", "redis://:C@h", "report"],
           ["--workdir", "redis://:C@h", "report"], ["--no-such=redis://:C@h"]]  # fmt: skip


def has(command: str) -> bool:
    return importlib.util.find_spec(f"taskctl.commands.{COMMANDS[command][0]}") is not None


def lines_for(form: Form) -> list[list[str]]:
    lines = [line for line in SHORT]
    if form.name in THOROUGH:
        long = [[name, *words] for name, some in LONG.items() if has(name) for words in some]
        lines += [*long, *GLOBALS]
        lines += [["-v", *line] for line in long if line[0] not in ("doctor", "multi")]
    return [[*form.words, *line] for line in lines]


def with_canary(value: Any) -> Any:
    return json.loads(json.dumps(value).replace(":C@", f":{CANARY}@").replace("=C", f"={CANARY}")
                      .replace("'C'", f"'{CANARY}'").replace("40C%", f"40{CANARY}%")
                      .replace("#C/", f"#{CANARY}/").replace(":a C@", f":a {CANARY}@"))  # fmt: skip


def group_of(form: Form) -> str:
    return form.name.split(" ")[0] if " " in form.name else "variables"


GROUPS = sorted(set(map(group_of, forms())))


@pytest.mark.parametrize("group", GROUPS)
def test_no_command_shows_it(shell: Shell, group: str) -> None:
    app = shell.folder / "proj" / "celery.py"
    app.write_text(
        app.read_text() + "app.config_from_object('proj.conf')\n"
        "app.conf.task_publish_retry = False\n"
    )
    asked = [
        {
            "form": form.name,
            "words": ["-A", "proj", *line],
            "env": form.env,
            "files": {"proj/conf.py": form.conf, "taskctl.toml": form.toml or None},
        }
        for form in forms()
        if group_of(form) == group
        for line in lines_for(form)
    ]

    told = ask(shell, with_canary(asked), {})

    assert [one for one in told if CANARY in one["said"]] == []
    assert [one for one in told if one["code"] == 70] == []


def ask(shell: Shell, asked: list[dict[str, Any]], env: dict[str, str]) -> list[dict[str, Any]]:
    """Run command lines in one process; return each with its exit code and what it said."""
    done = subprocess.run(
        [sys.executable, str(DRIVER)],
        input=json.dumps(asked), capture_output=True, text=True, cwd=shell.folder,
        env={**shell.env, **env}, timeout=120,
    )  # fmt: skip
    assert (done.returncode, CANARY in done.stderr) == (0, False), done.stderr
    told = json.loads(done.stdout)
    return [
        {**{key: value for key, value in one.items() if key != "files"}, "code": code, "said": said}
        for one, (code, said) in zip(asked, told, strict=True)
    ]


def test_every_command_is_tried() -> None:
    assert sorted(LONG) == sorted(COMMANDS)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    shell.close()


# -- a real node, on a real server with that password


TASKS = """
@app.task
def fail():
    raise RuntimeError(f"cannot reach {app.conf.broker_url} with password={app.conf.MY_PASSWORD}")

@app.task
def chat():
    print(app.conf.broker_url)
"""


@dataclass
class Site:
    """A node started with a password on its command line, and one of multi's."""

    shell: Shell
    server: RedisServer
    url: str
    processes: list[int]

    def said(self) -> str:
        """Return the logs of all nodes."""
        logs = [*self.shell.folder.glob("log/*.log"), self.shell.folder / "err"]
        return "\n".join(log.read_text() for log in logs)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    shell = Shell(tmp_path_factory.mktemp("site"))
    server = RedisServer().start()
    with redis.Redis(port=server.port) as client:
        client.config_set("requirepass", CANARY)
    url = f"redis://:{CANARY}@127.0.0.1:{server.port}/0"
    app = shell.folder / "proj" / "celery.py"
    app.write_text(app.read_text() + f"app.conf.MY_PASSWORD = {CANARY!r}\n" + TASKS)
    words = ("-b", url, "--result-backend", url, "-l", "DEBUG", "-c", "1", "-E")
    process = shell.start("-A", "proj", "worker", *words, "-n", "w1@h", f"redis_password={CANARY}")
    started = shell.proj("multi", "start", "w2", *words)
    assert (started.code, CANARY in started.out + started.err) == (0, False)
    eventually(lambda: "w1@h ready in" in shell.err, within=20)
    pids = [process.pid, int((shell.folder / "run" / "w2.pid").read_text())]
    yield Site(shell, server, url, pids)
    shell.close()
    server.stop()


def test_no_command_line_of_a_process_shows_it(site: Site) -> None:
    family = [p for pid in site.processes for p in
              [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]]  # fmt: skip

    shown = [Path(f"/proc/{p.pid}/cmdline").read_bytes().decode() for p in family]

    assert len(shown) >= 4
    assert [words for words in shown if CANARY in words] == []
    assert all("redis://:********@127.0.0.1" in words for words in shown)


ASKED = [
    ["status", "-o", "wide"],
    ["status", "-o", "json"],
    *[["inspect", name, *more] for name in
      ("conf", "report", "stats", "registered", "active_queues", "stacks", "active")
      for more in ([], ["-j"], ["-o", "json"], ["-o", "table"])],
    ["inspect", "conf", "true"],
    ["control", "rate_limit", "proj.celery.chat", "10/m"],
    ["config", "diff", "app", "w1@h"],
    ["config", "diff", "w1@h", "default", "-o", "json"],
    ["doctor", "-v"],
    ["doctor", "-o", "json"],
    ["report"],
    ["list", "bindings"],
    ["queue", "ls"],
    ["dlq", "ls", "-o", "json"],
    ["top", "--once"],
    ["multi", "status"],
    ["multi", "status", "-o", "json"],
    ["multi", "logs", "-n", "1000"],
    ["multi", "show", "w2"],
    ["multi", "show", "w2", "-o", "json"],
    ["probe", "ready", "-n", "w2", "-o", "json"],
    ["graph", "workers"],
    ["migrate", "URL", "URL3", "-n", "1", "--dry-run"],
]  # fmt: skip


def test_no_answer_of_a_node_shows_it(site: Site) -> None:
    asked = [
        {
            "words": [
                "-A",
                "proj",
                *({"URL": site.url, "URL3": f"{site.url[:-1]}3"}.get(w, w) for w in line),
            ]
        }
        for line in ASKED
    ]

    told = ask(
        site.shell, asked, {"TASKCTL_BROKER_URL": site.url, "TASKCTL_RESULT_BACKEND": site.url}
    )

    assert [one for one in told if CANARY in one["said"]] == []
    assert [one for one in told if one["code"] in (2, 69, 70)] == []


def test_no_log_and_no_error_of_a_task_shows_it(site: Site) -> None:
    shell = site.shell
    environ = {"TASKCTL_BROKER_URL": site.url, "TASKCTL_RESULT_BACKEND": site.url}

    failed = shell.proj("call", "proj.celery.fail", "--wait", "10", **environ)
    again = shell.proj("call", "proj.celery.fail", **environ).out.strip()
    waited = shell.proj("result", again, "--timeout", "10", **environ)
    trace = shell.proj("result", again, "--traceback", **environ)
    shell.proj("call", "proj.celery.chat", "--wait", "10", **environ)
    with redis.Redis(port=site.server.port, password=CANARY) as client:
        client.client_kill_filter(_type="normal", skipme=True)
    eventually(lambda: "ended FAILURE" in failed.err and "redis://:****" in site.said())

    told = (failed, waited, trace)
    assert [said for said in told if CANARY in said.out + said.err] == []
    assert [line for line in site.said().splitlines() if CANARY in line] == []
