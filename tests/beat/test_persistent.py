"""What was sent is remembered, whatever ends beat; nobody's file is harmed."""

from __future__ import annotations

import os
import random
import shelve
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from taskctl import App
from taskctl.beat import PersistentScheduler
from taskctl.core.beat.store import Store, look, store_path
from taskctl.core.errors import ScheduleFileError, ScheduleFileHeld
from taskctl.schedules import crontab

from ..support.waiting import eventually
from .conftest import Clock, MakeApp, sent

EVERY_10 = {"task": "proj.mail", "schedule": 10.0}


def run_all(scheduler: PersistentScheduler) -> float:
    while (wait := scheduler.tick()) <= 0:
        continue
    if scheduler.should_sync():
        scheduler._do_sync()
    return wait


def names(app: App) -> list[str]:
    return [message["task"] for message in sent(app)]


def test_after_a_restart_the_rhythm_goes_on(make_app: MakeApp, clock: Clock) -> None:
    first = PersistentScheduler(make_app(beat_schedule={"mail": EVERY_10}))
    clock.pass_by(10)
    run_all(first)
    first.close()
    clock.pass_by(4)

    second = PersistentScheduler(make_app(beat_schedule={"mail": EVERY_10}))

    assert run_all(second) == pytest.approx(6.0)
    assert second.schedule["mail"].total_run_count == 1
    assert len(sent(second.app)) == 1
    second.close()


def test_what_was_missed_while_it_was_down_is_sent_once(make_app: MakeApp, clock: Clock) -> None:
    PersistentScheduler(make_app(beat_schedule={"mail": EVERY_10})).close()
    clock.pass_by(3600)

    second = PersistentScheduler(make_app(beat_schedule={"mail": EVERY_10}))
    run_all(second)

    assert len(sent(second.app)) == 1
    second.close()


def test_changed_entries_keep_what_still_makes_sense(make_app: MakeApp, clock: Clock) -> None:
    before = {
        "gone": EVERY_10,
        "faster": {"task": "faster", "schedule": 3600},
        "moved": {"task": "moved", "schedule": crontab(0, 18)},
    }
    PersistentScheduler(make_app(beat_schedule=before)).close()
    clock.pass_by(1800)
    # At 12:30 the crontab is moved to 12:15: that of today is over.
    after = {
        "faster": {"task": "faster", "schedule": 60},
        "moved": {"task": "moved", "schedule": crontab(15, 12)},
    }

    second = PersistentScheduler(make_app(beat_schedule=after))
    run_all(second)
    second.close()

    assert names(second.app) == ["faster"]
    glance = look(second.schedule_filename)
    assert glance is not None
    assert [record.name for record in glance.records] == ["faster", "moved"]


def test_each_send_is_on_the_disk_before_the_next_sleep(make_app: MakeApp, clock: Clock) -> None:
    scheduler = PersistentScheduler(make_app(beat_schedule={"mail": EVERY_10}))
    clock.pass_by(10.5)
    run_all(scheduler)

    glance = look(scheduler.schedule_filename)

    assert glance is not None and glance.beat is not None and glance.beat.pid == os.getpid()
    (record,) = glance.records
    assert (record.total_run_count, record.schedule) == (1, "every 10 s")
    assert record.late == pytest.approx(0.5, abs=0.1)
    assert record.next_run_at == pytest.approx(record.last_run_at + 10)
    scheduler.close()
    assert look(scheduler.schedule_filename).beat is None  # type: ignore[union-attr]


def test_it_may_be_written_less_often(make_app: MakeApp, clock: Clock) -> None:
    app = make_app(beat_schedule={"mail": EVERY_10}, beat_sync_every=2)
    scheduler = PersistentScheduler(app)
    counts = []
    for _ in range(3):
        clock.pass_by(10)
        run_all(scheduler)
        counts.append(look(scheduler.schedule_filename).records[0].total_run_count)  # type: ignore[union-attr]

    assert counts == [0, 2, 2]
    scheduler.close()
    assert look(scheduler.schedule_filename).records[0].total_run_count == 3  # type: ignore[union-attr]


def test_there_is_one_beat_to_a_file(make_app: MakeApp) -> None:
    first = PersistentScheduler(make_app(beat_schedule={}))

    # A lock does not part two in one process, so the second is another one.
    script = (
        "import sys; from taskctl.core.beat.store import Store\n"
        "from taskctl.core.errors import ScheduleFileHeld\n"
        "try: Store(sys.argv[1]).open()\n"
        "except ScheduleFileHeld as exc: print(exc.pid, exc)"
    )
    said = subprocess.run(
        [sys.executable, "-c", script, first.schedule_filename], capture_output=True, text=True
    )

    assert said.stdout == (
        f"{os.getpid()} another beat (pid {os.getpid()}) uses {first.info}: "
        "stop it, or name another file with --schedule\n"
    ), said.stderr
    first.close()
    assert not Path(f"{first.info}.pid").exists()


def test_celerys_file_of_that_name_is_left_as_it_is(make_app: MakeApp, tmp_path: Path) -> None:
    with shelve.open(str(tmp_path / "celerybeat-schedule")) as theirs:
        theirs["entries"] = {}
    before = {path: path.read_bytes() for path in tmp_path.glob("celerybeat-schedule*")}

    scheduler = PersistentScheduler(make_app(beat_schedule={"mail": EVERY_10}))
    scheduler.close()

    assert before and {path: path.read_bytes() for path in before} == before
    assert store_path(scheduler.schedule_filename).name == "celerybeat-schedule.sqlite"


@pytest.mark.parametrize("content", [b"not a database, but long enough to be taken for one" * 99])
def test_a_file_of_something_else_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "beat.sqlite"
    file.write_bytes(content)

    with pytest.raises(ScheduleFileError, match="is not a SQLite database; name another file"):
        Store(file).open()

    assert file.read_bytes() == content
    assert not Path(f"{file}.pid").exists()


def test_a_folder_that_is_a_file_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ScheduleFileError, match=r"cannot write beside .*--schedule"):
        Store(tmp_path / "file" / "beat").open()


def test_sending_goes_on_when_the_file_is_taken_away(
    make_app: MakeApp, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = PersistentScheduler(make_app(beat_schedule={"a": EVERY_10, "b": EVERY_10}))
    for path in Path(scheduler.info).parent.glob("celerybeat-schedule.sqlite*"):
        path.unlink()

    clock.pass_by(10)
    run_all(scheduler)
    assert "sending goes on, a restart may send some entries again" in caplog.text
    scheduler.sync_every = 0.0
    run_all(scheduler)
    scheduler.close()

    assert len(sent(scheduler.app)) == 2
    glance = look(scheduler.schedule_filename)
    assert glance is not None
    assert [record.total_run_count for record in glance.records] == [1, 1]


PROGRAM = """\
import sys
from taskctl import App
from taskctl.beat import Service
app = App("k", broker="sqlite:///queue.db", set_as_current=False, beat_schedule={
    name: {"task": name, "schedule": 0.02} for name in "abc"
})
Service(app).start()
"""


def test_each_kill_doubles_one_run_of_an_entry_at_most_and_loses_none(tmp_path: Path) -> None:
    store, kills = tmp_path / "celerybeat-schedule", 6
    pause = random.Random(7)

    def counts() -> dict[str, int]:
        glance = look(store)
        assert glance is not None
        return {record.name: record.total_run_count for record in glance.records}

    for _ in range(kills):
        beat = subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=tmp_path)
        before = sum(counts().values()) if store_path(store).exists() else 0
        eventually(lambda: store_path(store).exists() and sum(counts().values()) > before + 3)  # noqa: B023
        time.sleep(pause.uniform(0, 0.05))  # somewhere within a tick, not for anything
        beat.send_signal(signal.SIGKILL)
        beat.wait()

    app = App("k", broker=f"sqlite:///{tmp_path}/queue.db", set_as_current=False)
    messages = names(app)
    app.close()
    for name, noted in counts().items():
        assert noted <= messages.count(name) <= noted + kills


def test_a_lock_of_a_dead_beat_holds_nobody_up(make_app: MakeApp, tmp_path: Path) -> None:
    script = "import os, sys; from taskctl.core.beat.store import Store\n"
    script += "Store(sys.argv[1]).open(); os.kill(os.getpid(), 9)"
    file = tmp_path / "celerybeat-schedule"
    subprocess.run([sys.executable, "-c", script, str(file)])
    assert Path(f"{store_path(file)}.pid").exists()

    scheduler = PersistentScheduler(make_app(beat_schedule={}))

    assert look(file).beat.pid == os.getpid()  # type: ignore[union-attr]
    scheduler.close()


def test_held_is_a_kind_of_file_error() -> None:
    error: Any = ScheduleFileHeld("/x", 0)

    assert isinstance(error, ScheduleFileError)
    assert "on another host or in another container" in str(error)
