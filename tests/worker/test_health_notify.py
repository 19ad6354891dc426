"""What systemd is told, heard on a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskctl.core.worker.notify import Notifier, Service


class Systemd:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1))
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        """Return the assignments that have come since the last call."""
        lines: list[str] = []
        try:
            while True:
                lines += self.socket.recv(65536).decode().split("\n")
        except BlockingIOError:
            return lines


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    address = f"@taskctl-test-{os.getpid()}" if request.param == "abstract" else f"{tmp_path}/s"
    end = Systemd(address)
    yield end
    end.socket.close()


def service(systemd: Systemd, **environ: str) -> Service:
    return Service(Notifier({"NOTIFY_SOCKET": systemd.address, **environ}))


def test_ready_is_said_once_and_status_every_ten_seconds(systemd: Systemd) -> None:
    told = service(systemd)

    told.look(100.0, lambda: "starting", ready=False)
    assert systemd.heard() == ["STATUS=starting"]
    told.look(100.1, lambda: "takes\ntasks", ready=True)
    assert systemd.heard() == ["READY=1", "STATUS=takes tasks"]
    told.look(110.0, lambda: "later", ready=True)
    assert systemd.heard() == []
    assert told.next_due(110.0) == pytest.approx(0.1)
    told.look(110.2, lambda: "later", ready=True)
    assert systemd.heard() == ["STATUS=later"]


def test_a_node_that_loses_its_broker_does_not_say_ready_twice(systemd: Systemd) -> None:
    told = service(systemd)

    for now, ready in ((1.0, True), (2.0, False), (3.0, True)):
        told.look(now, lambda: "-", ready=ready)

    assert systemd.heard().count("READY=1") == 1


def test_the_watchdog_hears_a_sign_of_life_at_half_of_its_time(systemd: Systemd) -> None:
    told = service(systemd, WATCHDOG_USEC="3000000", WATCHDOG_PID=str(os.getpid()))

    heard = []
    for tenth in range(1000, 1061):
        told.look(tenth / 10, lambda: "-", ready=False)
        heard += systemd.heard()

    assert heard.count("WATCHDOG=1") == 5
    assert told.next_due(106.0) == pytest.approx(1.5)


@pytest.mark.parametrize(
    "environ",
    [
        {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {},
    ],
)
def test_a_watchdog_that_is_not_for_us_hears_nothing(
    systemd: Systemd, environ: dict[str, str]
) -> None:
    told = service(systemd, **environ)

    told.look(100.0, lambda: "-", ready=True)

    assert "WATCHDOG=1" not in systemd.heard()


def test_while_tasks_are_finished_more_time_is_asked_for(systemd: Systemd) -> None:
    told = service(systemd)

    told.look(1.0, lambda: "2 run", ready=False, stage="stopping", finishing=float("inf"))
    assert systemd.heard() == ["STOPPING=1", "STATUS=2 run", "EXTEND_TIMEOUT_USEC=30000000"]
    told.look(11.5, lambda: "1 runs", ready=False, stage="stopping", finishing=4.5)
    assert systemd.heard() == ["STATUS=1 runs", "EXTEND_TIMEOUT_USEC=14500000"]
    told.look(22.0, lambda: "none", ready=False, stage="stopping")
    assert systemd.heard() == ["STATUS=none"]


def test_an_end_that_is_a_beginning_is_reloading_until_it_is_none(systemd: Systemd) -> None:
    told = service(systemd)
    told.look(1.0, lambda: "-", ready=True)
    systemd.heard()

    told.look(2.0, lambda: "-", ready=False, stage="reloading")
    reloading, monotonic, status = systemd.heard()
    assert (reloading, status) == ("RELOADING=1", "STATUS=-")
    assert int(monotonic.removeprefix("MONOTONIC_USEC=")) > 0
    told.look(3.0, lambda: "-", ready=False, stage="stopping")
    assert systemd.heard() == ["STOPPING=1", "STATUS=-"]


def test_what_did_not_arrive_is_said_again_after_a_second(tmp_path: Path) -> None:
    address = f"{tmp_path}/late"
    told = Service(Notifier({"NOTIFY_SOCKET": address}))
    told.look(1.0, lambda: "-", ready=True)
    late = Systemd(address)

    told.look(1.5, lambda: "-", ready=True)
    assert late.heard() == []
    told.look(2.1, lambda: "-", ready=True)
    assert late.heard() == ["READY=1", "STATUS=-"]
    late.socket.close()


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234"])
def test_without_a_socket_that_we_know_nothing_is_said(address: str) -> None:
    told = Service(Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"}))

    told.look(1.0, lambda: "-", ready=True)

    assert not told.notifier
    assert told.next_due(1.0) is None
