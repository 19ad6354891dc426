"""Signed messages between live workers and clients of both kinds, and what workers refuse."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from taskctl import App
from taskctl.core import security
from taskctl.core.wire import codecs, trust
from taskctl.core.wire.message import Publication, decode_envelope, encode_envelope
from taskctl.core.wire.signed import AUTH, AUTH_TYPE, pack_signed, unpack_signed

from ..support.rabbit import RabbitControl
from ..support.servers import RedisServer
from ..support.signing import Party, make_party
from ..support.waiting import eventually

PROJECT = """\
import json, os
if os.environ["SIDE"] == "celery":
    from celery import Celery
else:
    from taskctl import Celery
app = Celery("proj", broker=os.environ["BROKER"], backend=os.environ["RESULTS"])
app.conf.update(json.loads(os.environ["SETTINGS"]))
app.conf.update(broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)
app.setup_security()

@app.task(name="proj.add")
def add(x, y):
    return x + y

@app.task(name="proj.relay")
def relay(x):
    return add.delay(x, 1).id
"""
#: A client of Celery: calls a task, its own and one that calls another, and a control command.
CLIENT = """\
from proj import app, add, relay
from celery import chain
print(add.delay(1, 2).get(timeout=20))
print(chain(add.s(1, 1), add.s(5))().get(timeout=20))
print(app.AsyncResult(relay.delay(4).get(timeout=20)).get(timeout=20))
print(app.control.ping(timeout=5, limit=1)[0]["taskctl@h"]["ok"])
"""


class Place:
    """A broker, with one worker on it that takes signed messages alone."""

    def __init__(self, folder: Path, store: Path, url: str, results: str) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "proj.py").write_text(PROJECT)
        self.folder, self.store, self.url, self.results = folder, store, url, results
        self._processes: list[subprocess.Popen[bytes]] = []

    def environment(self, side: str, party: Party) -> dict[str, str]:
        return {
            **os.environ,
            "SIDE": side,
            "BROKER": self.url,
            "RESULTS": self.results,
            "SETTINGS": json.dumps(party.settings(self.store)),
            "PYTHONPATH": str(self.folder),
            "PYTHONWARNINGS": "ignore",
            "C_FORCE_ROOT": "1",
        }

    def start(self, side: str, party: Party) -> None:
        words = ["-A", "proj", "worker", "-c", "1", "-l", "INFO", "-n", f"{side}@h"]
        with self.log_file.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", side, *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self.environment(side, party),
                start_new_session=True,
            )
        self._processes.append(process)

    @property
    def log_file(self) -> Path:
        return self.folder / "worker.log"

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def wait_ready(self) -> None:
        eventually(lambda: " ready" in self.log, within=60)

    def app(self, party: Party) -> App:
        return App(
            "client", set_as_current=False, broker=self.url, backend=self.results,
            **party.settings(self.store),
        )  # fmt: skip

    def close(self) -> None:
        for process in self._processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("signed")


@pytest.fixture(scope="module")
def parties(folder: Path) -> Iterator[dict[str, Party]]:
    names = ("one", "two", "stranger")
    made = {name: make_party(folder / "keys", name) for name in names}
    made["expired"] = make_party(folder / "keys", "expired", days=-1)
    (folder / "trusted").mkdir()
    for name in ("one", "two"):
        shutil.copy(made[name].certificate, folder / "trusted")
    yield made
    if AUTH in codecs.CODECS:
        codecs.unregister(AUTH)
    trust.distrust_all_but(codecs.CODECS)


@pytest.fixture(scope="module")
def beside_celery(
    folder: Path, parties: dict[str, Party], redis_server: RedisServer
) -> Iterator[Place]:
    url = redis_server.url.removesuffix("/0") + "/59"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    place = Place(folder / "celery", folder / "trusted", url, url)
    place.start("celery", parties["two"])
    place.wait_ready()
    yield place
    place.close()


@pytest.fixture(scope="module", params=["sqlite", "redis", "rabbitmq"])
def place(
    request: pytest.FixtureRequest, folder: Path, parties: dict[str, Party]
) -> Iterator[Place]:
    """A worker of ours on each broker."""
    results = url = f"sqlite:///{folder}/queue.db"
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        results = url = server.url.removesuffix("/0") + "/58"
        with redis.Redis.from_url(url) as client:
            client.flushdb()
    elif request.param == "rabbitmq":
        control: RabbitControl = request.getfixturevalue("rabbitmq_control")
        url, results = control.new_vhost(), f"sqlite:///{folder}/results.db"
    store = folder / f"trusted-{request.param}"
    shutil.copytree(folder / "trusted", store)
    shutil.copy(parties["expired"].certificate, store)
    place = Place(folder / request.param, store, url, results)
    place.start("taskctl", parties["two"])
    place.wait_ready()
    yield place
    place.close()
    if request.param == "rabbitmq":
        control.drop_vhost(url)


def test_a_client_of_ours_is_understood_by_a_worker_of_celery(
    beside_celery: Place, parties: dict[str, Party]
) -> None:
    with beside_celery.app(parties["one"]) as app:
        app.setup_security()

        assert app.send_task("proj.add", (1, 2)).get(timeout=20) == 3
        steps = app.signature("proj.add", (1, 1)) | app.signature("proj.add", (5,))
        assert steps().get(timeout=20) == 7
        assert app.control.ping(timeout=5) == [{"celery@h": {"ok": "pong"}}]


@pytest.mark.parametrize("place", ["redis"], indirect=True)
def test_a_client_of_celery_is_understood_by_a_worker_of_ours(
    place: Place, parties: dict[str, Party]
) -> None:
    # Celery refuses to start beside a certificate that is over.
    env = place.environment("celery", parties["one"])
    trusted = {**parties["one"].settings(place.folder.parent / "trusted")}
    env["SETTINGS"] = json.dumps(trusted)

    ended = subprocess.run(
        [sys.executable, "-c", CLIENT],
        env=env,
        cwd=place.folder,
        capture_output=True,
        text=True,
        timeout=90,
    )

    assert ended.stdout.splitlines() == ["3", "7", "5", "pong"], ended.stderr + place.log


def test_our_clients_and_workers_understand_each_other(
    place: Place, parties: dict[str, Party]
) -> None:
    with place.app(parties["one"]) as app:
        app.setup_security()

        assert app.send_task("proj.add", (1, 2)).get(timeout=20) == 3
        inner = app.send_task("proj.relay", (4,)).get(timeout=20)
        assert app.AsyncResult(inner).get(timeout=20) == 5
        assert app.control.inspect(timeout=5).ping() == {"taskctl@h": {"ok": "pong"}}


def _expired(parties: dict[str, Party], body: bytes) -> bytes:
    """Sign as one whose certificate is over, which our own `encode` would not do."""
    one = parties["expired"]
    certificate = security.read_certificate(str(one.certificate))
    digest = security.digest_named("sha256")
    signed = unpack_signed(body)
    made = security.read_key(str(one.key), None).sign(
        signed.body, security._padding(digest), digest
    )
    return pack_signed(signed._replace(signer=certificate.id, signature=made))


#: How a body that was signed well is spoilt, and what is said of it.
SPOILT: dict[str, tuple[Callable[[dict[str, Party], bytes], tuple[str, bytes]], str]] = {
    "tampered": (
        lambda parties, body: (
            AUTH_TYPE,
            pack_signed(unpack_signed(body)._replace(body=b"[[9, 9], {}, {}]")),
        ),
        "bad signature: the body is not what 'one ",
    ),
    "expired": (
        lambda parties, body: (AUTH_TYPE, _expired(parties, body)),
        "certificate 'expired ",
    ),
    "plain": (
        lambda parties, body: ("application/json", b"[[1, 2], {}, {}]"),
        "refusing to decode content type 'application/json': not in accept_content",
    ),
    "raw": (
        lambda parties, body: (AUTH_TYPE, b"[[1, 2], {}, {}]"),
        "the body is not signed",
    ),
}


def test_what_cannot_be_verified_becomes_a_dead_letter_with_its_reason(
    place: Place, parties: dict[str, Party]
) -> None:
    with place.app(parties["one"]) as app:
        app.setup_security()
        expected = {}
        publications = []
        for name, (spoil, said) in SPOILT.items():
            made = app.producer.encode("proj.add", (1, 2), {}, {"task_id": name})
            content_type, body = spoil(parties, decode_envelope(made.envelope).body)
            publications.append(_with_body(made, content_type, body))
            expected[name] = said
        stranger = security.KeyFiles(
            str(parties["stranger"].key), None, str(parties["stranger"].certificate),
            str(place.store), "sha256",
        ).signer("json")  # fmt: skip
        made = app.producer.encode("proj.add", (1, 2), {}, {"task_id": "unknown"})
        publications.append(_with_body(made, AUTH_TYPE, stranger.encode([[1, 2], {}, {}])))
        expected["unknown"] = "unknown certificate 'stranger "
        with app.connection() as connection:
            connection.publish(publications)

            letters = eventually(lambda: _letters(connection, len(expected)), within=30)
            waiting = connection.broker.size("celery")

        for name, said in expected.items():
            assert said in letters[name], (name, letters[name])
            assert said in place.log
        assert waiting == 0
        assert "Traceback" not in place.log
        assert app.send_task("proj.add", (2, 2)).get(timeout=20) == 4


def _with_body(made: Publication, content_type: str, body: bytes) -> Publication:
    message = decode_envelope(made.envelope)
    envelope = encode_envelope(
        body,
        content_type=content_type,
        content_encoding="utf-8",
        headers=message.headers,
        properties={"delivery_mode": 2},
        exchange="",
        routing_key="celery",
    )
    return Publication(exchange="", routing_key="celery", envelope=envelope)


def _letters(connection: Any, wanted: int) -> dict[str, str]:
    """Return the reason of each dead letter, by the id of its task, once there are so many."""
    found = {}
    for envelope in connection.broker.peek("celery.dead"):
        headers = json.loads(envelope)["headers"]
        found[headers["id"]] = headers["taskctl-dead"]["detail"]
    return found if len(found) >= wanted else {}


def test_a_command_that_is_not_signed_is_not_obeyed(
    place: Place, parties: dict[str, Party]
) -> None:
    with App("plain", set_as_current=False, broker=place.url) as intruder:
        intruder.control.broadcast("shutdown")
        intruder.control.broadcast("pool_shrink", arguments={"n": 1})

    with place.app(parties["one"]) as app:
        app.setup_security()
        assert app.send_task("proj.add", (2, 3)).get(timeout=20) == 5
    assert "application/json" in place.log
