"""Real servers for tests, on free ports of 127.0.0.1, stopped by pid."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import pika
import pika.exceptions
import redis

from .waiting import eventually


def free_port() -> int:
    """Return a TCP port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """One redis-server process with a folder of its own."""

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="taskctl-redis-"))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> RedisServer:
        binary = shutil.which("redis-server")
        if binary is None:
            raise RuntimeError("redis-server is not installed")
        self.process = subprocess.Popen(
            [
                binary,
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--dir",
                str(self.folder),
                "--databases",
                "96",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(self._answers, within=20)
        return self

    def _answers(self) -> bool:
        try:
            with redis.Redis(port=self.port) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def pause(self) -> None:
        """Freeze the server: connections hang, nothing is refused."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None:
            self.resume()
            self.process.terminate()
            self.process.wait(timeout=20)
            self.process = None
        shutil.rmtree(self.folder, ignore_errors=True)


#: Where Debian keeps the program itself; the one in the PATH goes over to a user of its own.
_RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"


def rabbitmq_program() -> str | None:
    """Return the path of rabbitmq-server, None if it is not installed."""
    return _RABBITMQ if os.path.exists(_RABBITMQ) else shutil.which("rabbitmq-server")


class RabbitServer:
    """One rabbitmq-server with a node name, ports, a cookie and folders of its own."""

    def __init__(self) -> None:
        self._take_ports()
        self.folder = Path(tempfile.mkdtemp(prefix="taskctl-rabbitmq-"))
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def _take_ports(self) -> None:
        self.port, self._names_port, self._cluster_port = free_port(), free_port(), free_port()

    def start(self) -> RabbitServer:
        """Start it and return once it takes connections, some five seconds later."""
        for name in ("home", "mnesia", "log"):
            (self.folder / name).mkdir(exist_ok=True)
        for _ in range(3):
            try:
                return self._start()
            except RuntimeError as exc:
                if "eaddrinuse" not in str(exc):
                    raise
                # Somebody took a port that was free a second ago.
                self._end_processes()
                self._take_ports()
        return self._start()

    def _start(self) -> RabbitServer:
        program, names = rabbitmq_program(), shutil.which("epmd")
        if program is None or names is None:
            raise RuntimeError("rabbitmq-server is not installed")
        (self.folder / "plugins").write_text("[].\n")
        (self.folder / "rabbitmq.conf").touch()
        # Erlang would start its daemon of names by itself, and leave it behind.
        self._run([names, "-port", str(self._names_port)])
        self._run([program])
        eventually(self._answers, within=60, every=0.1)
        return self

    def _run(self, argv: list[str]) -> None:
        with (self.folder / "output").open("ab") as output:
            self.processes.append(
                subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={**os.environ, **self.environment()},
                    start_new_session=True,
                )
            )

    def environment(self) -> dict[str, str]:
        """Return the variables that make it this server, and let others find it."""
        folder = self.folder
        return {
            "HOME": str(folder / "home"),
            "ERL_EPMD_PORT": str(self._names_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._cluster_port),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            # One scheduler is enough for tests, and leaves the other core to them.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1",
        }

    def _answers(self) -> bool:
        ended = [process.args for process in self.processes if process.poll() is not None]
        if ended:
            raise RuntimeError(f"{ended} ended: {(self.folder / 'output').read_text()[-2000:]}")
        # Its first moments: a line that is refused, or closed in the middle of a word.
        with contextlib.suppress(pika.exceptions.AMQPError, OSError):
            self.connect().close()
            return True
        return False

    def connect(self) -> pika.BlockingConnection:
        """Return a connection of another library's."""
        return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", self.port))

    def stop(self) -> None:
        """End the server, then what knew its name; Erlang's own children are in its session."""
        self._end_processes()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end_processes(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        self.processes.clear()
