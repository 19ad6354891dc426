"""Real stores of results for tests, on free ports of 127.0.0.1, stopped by pid."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from .servers import free_port
from .waiting import eventually


class _Server:
    """One process with a folder of its own."""

    def __init__(self, name: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"taskctl-{name}-"))
        self.process: subprocess.Popen[bytes] | None = None

    def _run(self, argv: list[str], user: str | None = None) -> None:
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, user=user
            )
        eventually(self._answers, within=60, every=0.05)

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"it ended: {(self.folder / 'output').read_text()[-2000:]}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5):
            return True
        return False

    def pause(self) -> None:
        """Freeze the server: connections hang, nothing is refused."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def halt(self, signum: int = signal.SIGTERM) -> None:
        """End the process; its folder stays for another start."""
        if self.process is not None:
            self.resume()
            self.process.send_signal(signum)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(timeout=20)
            self.process = None

    def stop(self) -> None:
        self.halt()
        shutil.rmtree(self.folder, ignore_errors=True)


def postgres_programs() -> Path | None:
    """Return the folder with initdb and postgres in it, None if PostgreSQL is not installed."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    return Path(found).parent if found else None


class PostgresServer(_Server):
    """One PostgreSQL with a cluster of its own; it refuses to run as root, so it does not."""

    password = "hunter2"

    def __init__(self) -> None:
        super().__init__("postgres")
        self._user = "postgres" if os.geteuid() == 0 else None

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://tester:{self.password}@127.0.0.1:{self.port}/postgres"

    def start(self) -> PostgresServer:
        programs = postgres_programs()
        if programs is None:
            raise RuntimeError("PostgreSQL is not installed")
        data, secret = self.folder / "data", self.folder / "secret"
        if not data.exists():
            secret.write_text(self.password)
            if self._user:
                shutil.chown(self.folder, self._user)
                shutil.chown(secret, self._user)
            made = [str(programs / "initdb"), "-D", str(data), "-U", "tester", "--no-sync"]
            made += ["-E", "UTF8", "--locale=C", "-A", "scram-sha-256", f"--pwfile={secret}"]
            subprocess.run(made, check=True, capture_output=True, user=self._user, cwd="/")
        settings = {
            "fsync": "off",
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "shared_buffers": "16MB",
            "timezone": "Asia/Tokyo",  # what is stored must not depend on it
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._run([str(programs / "postgres"), "-D", str(data), *options], self._user)
        return self

    def _answers(self) -> bool:
        output = (self.folder / "output").read_text()
        return super()._answers() and "ready to accept connections" in output

    def halt(self, signum: int = signal.SIGINT) -> None:
        super().halt(signum)
        (self.folder / "output").unlink(missing_ok=True)


class MemcachedServer(_Server):
    """One memcached; `largest` is the size of its largest value."""

    def __init__(self, port: int | None = None, *, largest: str = "8m") -> None:
        super().__init__("memcached", port)
        self.largest = largest

    @property
    def url(self) -> str:
        return f"cache+memcached://127.0.0.1:{self.port}/"

    def start(self) -> MemcachedServer:
        argv = ["memcached", "-l", "127.0.0.1", "-p", str(self.port), "-U", "0", "-m", "64"]
        if os.geteuid() == 0:
            argv += ["-u", "nobody"]
        self._run([*argv, "-I", self.largest, "-t", "1"])
        return self

    def halt(self, signum: int = signal.SIGKILL) -> None:
        """It would take a second to end by itself, and has nothing to save."""
        super().halt(signum)


class MongoStandIn(_Server):
    """A server that speaks MongoDB's protocol over MongoDB's storage engine, and is not MongoDB.

    MongoDB itself is in no registry that tests may install from.
    """

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/"

    def __init__(self) -> None:
        super().__init__("mongo")

    def start(self) -> MongoStandIn:
        program = Path(sys.executable).parent / "secantusd-py"
        argv = [str(program), "--port", str(self.port), "--storage-path", str(self.folder / "data")]
        self._run(argv)
        return self
