"""The broker or the result backend goes away under load and comes back."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from ..support.farms import MakeFarm
from ..support.servers import free_port
from ..support.waiting import eventually
from ..support.workers import Farm, gone

#: A node starts its next task within so many seconds of the broker's return.
PROMISED = 5.0


class DurableRedis:
    """A redis-server that loses nothing when it is stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> DurableRedis:
        words = f"redis-server --port {self.port} --bind 127.0.0.1 --appendonly yes"
        words += f" --appendfsync always --dir {self.folder}"
        self.process = subprocess.Popen(words.split(), stdout=subprocess.DEVNULL)
        eventually(self._answers, within=20)
        return self

    def _answers(self) -> bool:
        try:
            with redis.Redis(port=self.port) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            self.process.wait(20)
            self.process = None

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


@pytest.fixture
def server(tmp_path: Path, redis_server: object) -> Iterator[DurableRedis]:
    folder = tmp_path / "redis"
    folder.mkdir()
    server = DurableRedis(folder).start()
    yield server
    server.stop()


def under_load(farm: Farm, count: int = 40) -> list[object]:
    """Return the results of tasks of which some have run and many have not."""
    results = [farm.send("mark", f"load.{number}", 0.05) for number in range(count)]
    farm.start()
    eventually(lambda: len(farm.runs()) > 6, within=20)
    return results


def first_start_after(farm: Farm, moment: float) -> float:
    """Return how long after `moment` the next task began."""
    starts = [float(line.split()[2]) for line in farm._lines()]
    return min((at for at in starts if at > moment), default=float("inf")) - moment


def test_a_node_goes_on_when_its_broker_is_back(
    make_farm: MakeFarm, tmp_path: Path, server: DurableRedis
) -> None:
    farm = make_farm(tmp_path, server.url)
    results = under_load(farm)

    server.stop()
    eventually(lambda: "running tasks go on" in farm.nodes[0].log, within=10)
    time.sleep(1.0)  # long enough for several tries in vain
    server.start()
    back = time.time()

    assert [r.get(timeout=20) for r in results] == [f"load.{n}" for n in range(40)]
    delay = first_start_after(farm, back)
    print(f"broker stopped: next start {delay:.2f} s after its return")
    assert delay < PROMISED
    assert set(farm.runs().values()) == {1}
    assert "connected again" in farm.nodes[0].log
    eventually(lambda: farm.unacked() == 0)


def test_a_node_goes_on_when_broker_and_backend_were_frozen(
    make_farm: MakeFarm, tmp_path: Path, server: DurableRedis
) -> None:
    farm = make_farm(tmp_path, server.url, broker_transport_options={"socket_timeout": 0.5})
    results = under_load(farm)

    server.freeze()
    time.sleep(2.0)
    server.thaw()
    back = time.time()

    assert [r.get(timeout=20) for r in results] == [f"load.{n}" for n in range(40)]
    delay = first_start_after(farm, back)
    print(f"broker frozen: next start {delay:.2f} s after its return")
    assert delay < PROMISED
    assert set(farm.runs().values()) == {1}
    eventually(lambda: farm.unacked() == 0)


def test_a_node_goes_on_when_its_broker_was_frozen_beyond_its_patience(
    make_farm: MakeFarm, tmp_path: Path, server: DurableRedis
) -> None:
    options = {"socket_timeout": 0.5}
    farm = make_farm(
        tmp_path,
        server.url,
        broker_transport_options=options,
        result_backend=f"sqlite:///{tmp_path}/results.db",
    )
    results = under_load(farm)

    server.freeze()
    eventually(lambda: "did not answer in time" in farm.nodes[0].log, within=10)
    time.sleep(1.5)
    server.thaw()
    back = time.time()

    assert [r.get(timeout=20) for r in results] == [f"load.{n}" for n in range(40)]
    delay = first_start_after(farm, back)
    print(f"broker frozen beyond patience: next start {delay:.2f} s after its return")
    assert delay < PROMISED
    assert len(farm.runs()) == 40
    eventually(lambda: farm.unacked() == 0 and farm.size() == 0)


def test_a_broker_that_is_away_for_longer_than_the_lease_loses_nothing(
    make_farm: MakeFarm, tmp_path: Path, server: DurableRedis
) -> None:
    farm = make_farm(tmp_path, server.url, worker_lease=1.0, worker_lease_interval=0.3)
    results = under_load(farm)
    farm.start("w2")

    server.stop()
    time.sleep(1.5)
    server.start()

    assert [r.get(timeout=20) for r in results] == [f"load.{n}" for n in range(40)]
    assert len(farm.runs()) == 40
    eventually(lambda: farm.unacked() == 0 and farm.size() == 0)


def test_a_node_ends_warmly_while_its_broker_is_away(
    make_farm: MakeFarm, tmp_path: Path, server: DurableRedis
) -> None:
    farm = make_farm(tmp_path, server.url)
    node = farm.start().ready()
    server.stop()
    eventually(lambda: "running tasks go on" in node.log)

    node.tell(signal.SIGTERM)

    assert node.exit_code(within=8) == 0
    assert all(map(gone, node.children()))


@pytest.mark.parametrize("away", ["stopped", "frozen"])
def test_results_wait_for_their_backend(
    make_farm: MakeFarm, tmp_path: Path, server: DurableRedis, away: str
) -> None:
    farm = make_farm(tmp_path, f"sqlite:///{tmp_path}/queue.db", result_backend=server.url)
    results = under_load(farm)

    if away == "stopped":
        server.stop()
        eventually(lambda: "results are held and stored later" in farm.nodes[0].log, within=15)
        assert farm.app.control.ping(timeout=3) == [{"w1@test": {"ok": "pong"}}]
        server.start()
    else:
        server.freeze()
        time.sleep(2.0)
        server.thaw()

    assert [r.get(timeout=20) for r in results] == [f"load.{n}" for n in range(40)]
    assert set(farm.runs().values()) == {1}
    eventually(lambda: farm.unacked() == 0)


def test_a_node_that_ends_while_the_backend_is_away_leaves_its_tasks_to_others(
    make_farm: MakeFarm, tmp_path: Path, server: DurableRedis
) -> None:
    farm = make_farm(tmp_path, f"sqlite:///{tmp_path}/queue.db", result_backend=server.url)
    node = farm.start().ready()
    server.stop()
    result_id = farm.send("mark", "orphan").id
    eventually(lambda: "results are held" in node.log, within=10)

    node.tell(signal.SIGQUIT)

    assert node.exit_code(within=10) == 1
    assert (farm.size(), farm.unacked()) == (1, 0)
    server.start()
    farm.start("w2")
    assert farm.app.AsyncResult(result_id).get(timeout=10) == "orphan"
    assert farm.runs()["orphan"] == 2


@pytest.mark.skipif(shutil.which("mount") is None, reason="needs mount")
def test_a_full_disk_stops_no_node_and_loses_nothing(make_farm: MakeFarm, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        farm = make_farm(tmp_path, f"sqlite:///{small}/queue.db")
        results = under_load(farm, count=40)
        ballast = small / "ballast"
        with open(ballast, "wb", buffering=0) as file:
            try:
                while file.write(b"x" * 4096):
                    pass
            except OSError:
                pass

        eventually(lambda: "running tasks go on" in farm.nodes[0].log, within=20)
        time.sleep(1.0)
        ballast.unlink()
        back = time.time()

        assert [r.get(timeout=30) for r in results] == [f"load.{n}" for n in range(40)]
        print(f"disk full: next start {first_start_after(farm, back):.2f} s after there was room")
        assert farm.nodes[0].process.poll() is None
        assert set(farm.runs().values()) == {1}
    finally:
        for node in farm.nodes:
            node.kill_group()
        farm.close()
        subprocess.run(["umount", "-l", str(small)], check=True)
