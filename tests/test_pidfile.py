"""Pidfiles: held by a live process, stale after it, and never a reason to signal a stranger."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from taskctl.core.errors import PidfileError, PidfileHeld
from taskctl.core.pidfile import LivePid, Pidfile, Stale, read_pid, remove_stale
from taskctl.core.process import birth, is_alive, send_signal

from .support.waiting import eventually

HOLD = """
import sys, time
from taskctl.core.pidfile import Pidfile
pidfile = Pidfile(sys.argv[1])
pidfile.acquire()
if sys.argv[2] == "ready":
    pidfile.mark_ready()
print("held", flush=True)
sys.stdin.read()
pidfile.release()
"""


@contextmanager
def holder(path: Path, how: str = "") -> Iterator[subprocess.Popen[str]]:
    """A process that holds a pidfile until its stdin ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_pidfile_holds_one_line_with_the_pid_of_its_process(tmp_path: Path) -> None:
    with holder(tmp_path / "w1.pid") as process:
        text = (tmp_path / "w1.pid").read_text()

    assert text == f"{process.pid}\n"


def test_a_held_pidfile_names_its_live_process(tmp_path: Path) -> None:
    with holder(tmp_path / "w1.pid") as process:
        found = read_pid(tmp_path / "w1.pid")

        assert found == LivePid(process.pid, birth(process.pid) or "", ready=False)


def test_every_reader_sees_when_the_process_said_ready(tmp_path: Path) -> None:
    with holder(tmp_path / "w1.pid", "ready"):
        found = read_pid(tmp_path / "w1.pid")

    assert isinstance(found, LivePid)
    assert found.ready


def test_looking_at_a_pidfile_takes_nothing_from_its_holder(tmp_path: Path) -> None:
    with holder(tmp_path / "w1.pid"):
        looks = [read_pid(tmp_path / "w1.pid") for _ in range(50)]

    assert all(isinstance(found, LivePid) for found in looks)


def test_a_second_process_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    with holder(tmp_path / "w1.pid") as process:
        with pytest.raises(PidfileHeld) as caught:
            Pidfile(tmp_path / "w1.pid").acquire()

        assert caught.value.pid == process.pid
        assert str(caught.value) == (
            f"pidfile {tmp_path}/w1.pid is held by live process {process.pid}"
        )
        assert isinstance(read_pid(tmp_path / "w1.pid"), LivePid)


def test_release_removes_the_file(tmp_path: Path) -> None:
    pidfile = Pidfile(tmp_path / "w1.pid")
    pidfile.acquire()

    pidfile.release()

    assert list(tmp_path.iterdir()) == []
    assert read_pid(tmp_path / "w1.pid") is None


def test_the_file_a_killed_process_leaves_is_stale_and_can_be_taken_over(tmp_path: Path) -> None:
    with holder(tmp_path / "w1.pid") as process:
        process.kill()
        process.wait()
    found = read_pid(tmp_path / "w1.pid")
    pidfile = Pidfile(tmp_path / "w1.pid")

    pidfile.acquire()

    assert found == Stale(process.pid, f"pid {process.pid} is gone")
    assert (tmp_path / "w1.pid").read_text() == f"{os.getpid()}\n"
    pidfile.release()


def test_a_live_pid_that_does_not_hold_the_file_is_a_stranger(tmp_path: Path) -> None:
    """The pid was handed out again: here it is that of a process that knows nothing of us."""
    with holder(tmp_path / "other.pid") as stranger:
        (tmp_path / "w1.pid").write_text(f"{stranger.pid}\n")

        found = read_pid(tmp_path / "w1.pid")

    assert isinstance(found, Stale)
    assert found.pid == stranger.pid
    assert found.why.startswith(f"pid {stranger.pid} does not hold it: {sys.executable} -c")


def test_a_holder_that_was_born_at_another_time_than_recorded_is_stale(tmp_path: Path) -> None:
    with holder(tmp_path / "w1.pid") as process:
        found = read_pid(tmp_path / "w1.pid", recorded=(process.pid, "123@otherboot"))

    assert isinstance(found, Stale)
    assert "started at another time" in found.why


@pytest.mark.parametrize("text", ["", "\n", "12", "12 \n", "-12\n", "0\n", "abc\n", "1\n2\n"])
def test_what_is_no_whole_line_with_one_pid_is_no_pid(tmp_path: Path, text: str) -> None:
    (tmp_path / "w1.pid").write_text(text)

    assert read_pid(tmp_path / "w1.pid") == Stale(None, "it holds no pid")


def test_a_stale_file_is_removed_and_a_held_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "stale.pid").write_text("1\n")
    with holder(tmp_path / "held.pid"):
        assert remove_stale(tmp_path / "stale.pid")
        assert not remove_stale(tmp_path / "held.pid")
        assert not remove_stale(tmp_path / "absent.pid")

        assert [path.name for path in tmp_path.iterdir()] == ["held.pid"]


def test_reading_and_tidying_its_own_pidfile_does_not_lose_the_lock(tmp_path: Path) -> None:
    """A process loses POSIX locks on a file when it closes any descriptor of it."""
    pidfile = Pidfile(tmp_path / "w1.pid")
    pidfile.acquire()

    own = read_pid(tmp_path / "w1.pid")
    removed = remove_stale(tmp_path / "w1.pid")
    seen = _seen_from_elsewhere(tmp_path / "w1.pid")

    assert own == LivePid(os.getpid(), birth(os.getpid()) or "", ready=False)
    assert not removed
    assert seen == f"LivePid {os.getpid()}"
    pidfile.release()


def test_a_forked_child_neither_holds_nor_removes_its_parents_pidfile(tmp_path: Path) -> None:
    pidfile = Pidfile(tmp_path / "w1.pid")
    pidfile.acquire()

    child = multiprocessing.get_context("fork").Process(target=pidfile.release)
    child.start()
    child.join()

    assert _seen_from_elsewhere(tmp_path / "w1.pid") == f"LivePid {os.getpid()}"
    pidfile.release()


def test_the_file_is_stale_although_a_forked_child_outlives_its_holder(tmp_path: Path) -> None:
    program = HOLD.replace("print(", "import os; os.fork() or time.sleep(60)\nprint(")
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "w1.pid"), ""],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.wait()

    found = read_pid(tmp_path / "w1.pid")

    os.killpg(process.pid, signal.SIGKILL)
    process.stdout.close()
    assert process.stdin is not None
    process.stdin.close()
    assert isinstance(found, Stale)


def test_the_file_never_looks_stale_while_its_process_executes_itself_anew(tmp_path: Path) -> None:
    program = (
        "import os, sys, time\n"
        "from taskctl.core.pidfile import Pidfile\n"
        "pidfile = Pidfile(sys.argv[1])\n"
        "pidfile.acquire()\n"
        "if sys.argv[2] == 'first':\n"
        "    pidfile.keep_over_exec()\n"
        "    again = [sys.executable, '-c', sys.argv[3], sys.argv[1], 'then', '']\n"
        "    os.execv(sys.executable, again)\n"
        "open(sys.argv[1] + '.anew', 'w').close()\n"
        "time.sleep(60)\n"
    )
    path = tmp_path / "w1.pid"
    looks = []
    with subprocess.Popen([sys.executable, "-c", program, str(path), "first", program]) as process:
        eventually(lambda: isinstance(read_pid(path), LivePid))
        while not Path(f"{path}.anew").exists():
            looks.append(read_pid(path))
            time.sleep(0.001)
        looks.append(read_pid(path))
        process.kill()

    assert {type(found) for found in looks} == {LivePid}


def test_of_many_that_want_one_pidfile_exactly_one_gets_it(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from taskctl.core.pidfile import Pidfile\n"
        "from taskctl.core.errors import PidfileHeld\n"
        "try:\n"
        "    Pidfile(sys.argv[1]).acquire()\n"
        "except PidfileHeld:\n"
        "    print('refused', flush=True)\n"
        "else:\n"
        "    print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    (tmp_path / "w1.pid").write_text("1\n")
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "w1.pid")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]

    said = [process.stdout.readline().strip() for process in racers if process.stdout]

    for process in racers:
        process.communicate("")
    assert sorted(said) == ["held"] + ["refused"] * 5


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(PidfileError) as caught:
        Pidfile(tmp_path / "file" / "w1.pid").acquire()

    assert str(caught.value) == (
        f"cannot make pidfile {tmp_path}/file/w1.pid: Not a directory; "
        f"choose another folder with --pidfile or TASKCTL_RUN_DIR"
    )


def test_a_full_disk_leaves_no_pidfile_behind(tmp_path: Path) -> None:
    program = (
        "import resource, signal, sys\n"
        "from taskctl.core.pidfile import Pidfile\n"
        "from taskctl.core.errors import PidfileError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "try:\n"
        "    Pidfile(sys.argv[1]).acquire()\n"
        "except PidfileError as exc:\n"
        "    print(exc)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "w1.pid")], capture_output=True, text=True
    )

    assert "File too large" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_process_is_known_by_pid_and_birth(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        born = birth(process.pid)
        assert born is not None
        assert is_alive(process.pid, born)
        assert not send_signal(process.pid, "1@otherboot", signal.SIGKILL)
        assert process.poll() is None

        assert send_signal(process.pid, born, signal.SIGKILL)

        process.wait()
    assert birth(process.pid) is None
    assert not send_signal(process.pid, born, signal.SIGKILL)


def test_a_zombie_is_over() -> None:
    with subprocess.Popen(["true"]) as process:
        eventually(lambda: birth(process.pid) is None)

        assert process.poll() == 0


def _seen_from_elsewhere(path: Path) -> str:
    program = (
        "import sys; from taskctl.core.pidfile import read_pid; "
        "found = read_pid(sys.argv[1]); print(type(found).__name__, found.pid)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
