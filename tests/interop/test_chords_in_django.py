"""Chords counted in a Django project's tables, in a fleet of both products, by real workers.

Celery's part of it is django-celery-results: a counter in a row, made by whoever sends, dropped by
whoever joins.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ..support.databases import PostgresServer
from ..support.servers import RedisServer
from ..support.waiting import eventually

BIN = Path(sys.executable).parent
SETTINGS = """
import os
SECRET_KEY = "only for tests"
INSTALLED_APPS = ["django.contrib.contenttypes", "django_celery_results"]
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "chords",
    "USER": "%(user)s", "PASSWORD": "%(password)s", "HOST": "%(host)s", "PORT": "%(port)s"}}
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""
PROJECT = """
import os
if os.environ["PRODUCT"] == "celery":
    from celery import Celery as App, chain, chord, group
else:
    from taskctl import App, chain, chord, group

app = App("proj", broker=os.environ["BROKER"], backend="django-db")

@app.task(name="proj.add")
def add(x, y):
    return x + y

@app.task(name="proj.silent", ignore_result=True)
def silent(x):
    return x

@app.task(name="proj.fail")
def fail():
    raise ValueError("no part of mine")

@app.task(name="proj.total")
def total(xs, mark):
    with open("journal", "a") as file:
        file.write(mark + "\\n")
    return xs
"""
CLIENT = """
import json, sys
import django
django.setup()
from proj import add, app, chain, chord, fail, group, silent, total

def sent(name, header):
    result = chord(header)(total.s(name).set(queue="theirs" if len(name) % 2 else "ours"))
    return name, result

def place(letter, n):
    return add.s(n, n).set(queue={"t": "theirs", "o": "ours", "b": "both"}[letter])

todo = []
for name, places in json.loads(sys.argv[1]).items():
    todo.append(sent(name, [place(letter, n) for n, letter in enumerate(places)]))
for name, queue in json.loads(sys.argv[2]).items():
    todo.append(sent(name, [place("b", 1), fail.s().set(queue=queue)]))
if "--own" in sys.argv:
    inner = chain(add.s(1, 1).set(queue="ours"), group(place("b", 5), place("o", 6)))
    inner = chain(add.si(1, 1).set(queue="theirs"), group(
        add.si(5, 5).set(queue="both"), add.si(6, 6).set(queue="ours")))
    todo.append(sent("own: nested", [place("t", 0), inner]))
    todo.append(sent("own: silent", [silent.s(7).set(queue="ours"), place("t", 1)]))
said = {}
for name, result in todo:
    value = result.get(timeout=60, propagate=False)
    said[name] = type(value).__name__ if isinstance(value, Exception) else value
print(json.dumps(said))
"""

Client = Callable[..., tuple[dict[str, Any], list[str]]]


class Site:
    """A Django project in a folder, its tables in PostgreSQL, its workers of both products."""

    def __init__(self, folder: Path, postgres: PostgresServer, broker: str) -> None:
        self.folder = folder
        self.url = postgres.url.replace("+psycopg", "")
        info = psycopg.conninfo.conninfo_to_dict(self.url)
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("DROP DATABASE IF EXISTS chords WITH (FORCE)")
            connection.execute("CREATE DATABASE chords")
        (folder / "settings.py").write_text(SETTINGS % info)
        (folder / "proj.py").write_text(PROJECT)
        (folder / "client.py").write_text(CLIENT)
        (folder / "journal").touch()
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("CELERY_", "DJANGO_"))}
        self.env |= {"DJANGO_SETTINGS_MODULE": "settings", "BROKER": broker}
        self.env |= {"PYTHONPATH": str(folder), "PYTHONWARNINGS": "ignore", "C_FORCE_ROOT": "1"}
        self.workers: list[subprocess.Popen[bytes]] = []

    def run(self, product: str, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=self.folder, env={**self.env, "PRODUCT": product},
            capture_output=True, text=True, timeout=180,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + self.logs()
        return done.stdout

    def start(self, product: str, queues: str) -> None:
        with (self.folder / f"{product}.log").open("wb") as log:
            self.workers.append(
                subprocess.Popen(
                    [str(BIN / product), "-A", "proj", "worker", "-c", "2", "-Q", queues],
                    cwd=self.folder, env={**self.env, "PRODUCT": product}, stdout=log, stderr=log,
                )
            )  # fmt: skip

    def rows(self) -> list[tuple[str, str]]:
        with psycopg.connect(self.url, dbname="chords") as connection:
            return list(
                connection.execute(
                    "SELECT group_id, sub_tasks FROM django_celery_results_chordcounter"
                )
            )

    def logs(self) -> str:
        return "\n".join(path.read_text()[-4000:] for path in self.folder.glob("*.log"))

    def close(self) -> None:
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.wait(timeout=60)
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("DROP DATABASE chords WITH (FORCE)")


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer
) -> Iterator[Site]:
    server = RedisServer().start()
    site = Site(tmp_path_factory.mktemp("site"), postgres_server, server.url)
    try:
        site.run("celery", "-m", "django", "migrate", "-v", "0")
        site.start("celery", "theirs,both")
        site.start("taskctl", "ours,both")
        yield site
    finally:
        site.close()
        server.stop()


@pytest.mark.parametrize("product", ["celery", "taskctl"])
def test_every_chord_is_joined_once_whoever_sends_and_whoever_counts(
    site: Site, product: str
) -> None:
    """Parts at Celery's worker (t), at ours (o), at either (b); the body at one of both."""
    patterns = ["tttt", "oooo", "toto", "otot", "ttto", "ooot", "o", "t", *["b" * 6] * 8]
    chords = {f"{product} {n:02}{'' if n % 2 else '!'}": p for n, p in enumerate(patterns)}
    failing = {f"{product} fails {queue}": queue for queue in ("theirs", "ours")}
    own = ["--own"] if product == "taskctl" else []

    said = json.loads(site.run(product, "client.py", json.dumps(chords), json.dumps(failing), *own))

    expected: dict[str, Any] = {n: [2 * i for i in range(len(p))] for n, p in chords.items()}
    expected |= dict.fromkeys(failing, "ChordError")
    if own:
        expected |= {"own: nested": [0, [10, 12]], "own: silent": [7, 2]}
    assert said == expected, site.logs()
    journal = Counter((site.folder / "journal").read_text().splitlines())
    assert {name: journal[name] for name in expected} == {
        name: int(value != "ChordError") for name, value in expected.items()
    }
    # Nothing of Celery's is left, and nothing of ours but the word that a chord is done.
    assert eventually(lambda: all(name.startswith("taskctl") for name, _ in site.rows()), within=30)
