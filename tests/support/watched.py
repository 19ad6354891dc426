"""A worker of the trial project with everything that watches over one: file, HTTP, systemd."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from taskctl import App
from taskctl.core.health import Health, Verdict, judge, read_health

from .waiting import eventually
from .workers import ROOT


class Watched:
    """One worker process; `block` stops its main loop, and nothing else of it."""

    def __init__(self, folder: Path, url: str, *, watchdog: float = 0.4, **options: Any) -> None:
        self.folder = folder
        self.path = str(folder / "w1.health")
        self.marks, self._block = folder / "marks", folder / "block"
        self.app = App("client", broker=url, backend=url, set_as_current=False)
        self._systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._systemd.bind(str(folder / "notify"))
        self._systemd.setblocking(False)
        self._told: list[str] = []
        given = {
            "resolve": {
                "hostname": "w1@test", "concurrency": 2, "heartbeat_interval": 0.1,
                **options.pop("resolve", {}),
            },
            "options": {
                "health_file": self.path, "health_every": 0.2,
                "health_listen": "127.0.0.1:0", "metrics_listen": "127.0.0.1:0", **options,
            },
        }  # fmt: skip
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.watched_main", json.dumps(given)],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={
                    **os.environ,
                    "TRIAL_SETTINGS": json.dumps({"broker_url": url, "result_backend": url}),
                    "TRIAL_MARKS": str(self.marks),
                    "WATCHED_BLOCK": str(self._block),
                    "NOTIFY_SOCKET": str(folder / "notify"),
                    "WATCHDOG_USEC": str(int(watchdog * 1e6)),
                },
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def ready(self) -> Watched:
        eventually(lambda: "ready in" in self.log or self.process.poll() is not None, within=20)
        assert self.process.poll() is None, self.log
        return self

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text of a page."""
        match = re.search(rf"{path}\b.* on 127\.0\.0\.1:(\d+)", self.log)
        assert match, self.log
        client = http.client.HTTPConnection("127.0.0.1", int(match[1]), timeout=10)
        client.request("GET", path)
        answer = client.getresponse()
        return answer.status, answer.read().decode()

    def health(self) -> Health:
        found = read_health(self.path)
        assert found is not None
        return found

    def verdict(self) -> Verdict:
        return judge(self.path)

    def told(self) -> list[str]:
        """Return what systemd was told since `forget`."""
        try:
            while True:
                self._told += self._systemd.recv(65536).decode().split("\n")
        except BlockingIOError:
            return self._told

    def forget(self) -> None:
        self.told()
        self._told = []

    def block(self) -> None:
        self._block.touch()

    def unblock(self) -> None:
        self._block.unlink(missing_ok=True)

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def send(self, task: str, *args: Any) -> Any:
        return self.app.send_task(f"trial.{task}", args)

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self._systemd.close()
        self.app.close()
