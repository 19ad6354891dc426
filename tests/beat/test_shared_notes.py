"""What leaders note at the broker: the next one goes on from there, on whatever host."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskctl import App
from taskctl.beat import PersistentScheduler, Scheduler, Service
from taskctl.core.beat.election import candidacy_of, group_of
from taskctl.core.beat.looking import ask
from taskctl.core.errors import ImproperlyConfigured
from taskctl.schedules import crontab

from .conftest import Clock, MakeApp, sent

EVERY_10 = {"mail": {"task": "proj.mail", "schedule": 10.0}}
Host = Callable[..., Service]


@pytest.fixture(params=["sqlite", "redis", "memory"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    urls = {"sqlite": f"sqlite:///{tmp_path}/queue.db", "memory": f"memory://{tmp_path.name}"}
    return urls.get(request.param) or str(request.getfixturevalue("redis_url"))


@pytest.fixture
def host(make_app: MakeApp, broker: str, tmp_path: Path) -> Iterator[Host]:
    """Starts a beat on one more host, with a folder of its own."""
    made: list[Service] = []

    def start(schedule: dict[str, Any] = EVERY_10, **settings: Any) -> Service:
        file = tmp_path / f"host{len(made)}" / "beat"
        file.parent.mkdir(exist_ok=True)
        settings.setdefault("beat_schedule_filename", str(file))
        made.append(Service(make_app(beat_schedule=schedule, broker_url=broker, **settings)))
        return made[-1]

    yield start
    for service in made:
        end(service)


def end(service: Service) -> None:
    service.scheduler.close()
    assert service.election is not None
    service.election.close()


def run_all(service: Service) -> float:
    assert service.leads(service.scheduler)
    while (wait := service.scheduler.tick()) <= 0:
        continue
    return wait


def test_on_another_host_the_rhythm_goes_on(host: Host, clock: Clock) -> None:
    first = host()
    assert run_all(first) == pytest.approx(10)
    clock.pass_by(10)
    run_all(first)
    end(first)
    clock.pass_by(4)

    second = host()

    assert run_all(second) == pytest.approx(6.0)
    assert second.scheduler.schedule["mail"].total_run_count == 1
    assert len(sent(second.app)) == 1


def test_who_does_not_lead_takes_over_when_the_leader_ends(host: Host, clock: Clock) -> None:
    first, second = host(), host()
    run_all(first)
    assert not second.leads(second.scheduler)
    clock.pass_by(10)
    run_all(first)
    end(first)
    assert second.election is not None
    second.election._next_look = 0.0

    assert run_all(second) == pytest.approx(10)
    assert len(sent(second.app)) == 1


def test_an_old_file_does_not_send_again_what_others_have_sent(host: Host, clock: Clock) -> None:
    first = host()
    run_all(first)
    end(first)
    clock.pass_by(600)
    second = host()
    run_all(second)
    end(second)

    again = host(beat_schedule_filename=first.schedule_filename)

    assert run_all(again) == pytest.approx(10)
    assert len(sent(again.app)) == 1


def test_without_notes_the_file_is_remembered(host: Host, clock: Clock, make_app: MakeApp) -> None:
    """The broker was emptied, or is another one."""
    first = host()
    run_all(first)
    clock.pass_by(10)
    run_all(first)
    looker = candidacy_of(first.app, group_of(first.app), "looker")
    assert first.election is not None
    first.election._candidacy.note(dict.fromkeys(looker.notes()))
    looker.drop()
    end(first)
    clock.pass_by(4)

    again = host(beat_schedule_filename=first.schedule_filename)

    assert run_all(again) == pytest.approx(6.0)


def test_changed_and_removed_entries_are_as_after_a_restart(host: Host, clock: Clock) -> None:
    before = {
        "gone": {"task": "gone", "schedule": 10},
        "moved": {"task": "moved", "schedule": crontab(0, 18)},
    }
    first = host(before)
    run_all(first)
    end(first)
    clock.pass_by(1800)

    second = host({"moved": {"task": "moved", "schedule": crontab(15, 12)}})
    run_all(second)

    assert sent(second.app) == [], "12:15 was over when it became the time"
    assert [record.name for record in ask(second.app).records] == ["moved"]


def test_a_run_is_the_same_to_whoever_sends_it(host: Host, clock: Clock) -> None:
    first = host()
    run_all(first)
    clock.pass_by(10)
    entry = first.scheduler.schedule["mail"]
    expected = first.scheduler._id_of(entry)
    end(first)

    second = host()
    run_all(second)

    (message,) = sent(second.app)
    assert message["headers"]["id"] == expected
    assert message["headers"]["beat_entry"] == "mail"
    assert message["headers"]["beat_due"] == "2026-06-01T12:00:40+00:00"


def test_a_send_that_fails_is_a_run_all_the_same(
    host: Host, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    service = host({"bad": {"task": "bad", "schedule": 10.0, "args": (object(),)}})
    run_all(service)
    clock.pass_by(10)

    run_all(service)

    assert "cannot send bad (bad)" in caplog.text
    (record,) = ask(service.app).records
    assert record.total_run_count == 1


def test_who_stands_by_tells_of_entries_that_nobody_sends(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = host()
    run_all(first)
    second = host(EVERY_10 | {"extra": {"task": "extra", "schedule": 10.0}})

    assert not second.leads(second.scheduler)

    assert "standing by: beat on " in caplog.text
    assert "does not know extra: nobody sends them; set beat_group to let both" in caplog.text
    third = host(beat_group="others")
    assert third.leads(third.scheduler)


def test_a_note_that_cannot_be_read_is_told_of_and_written_anew(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    first = host()
    run_all(first)
    assert first.election is not None
    first.election._candidacy.note({"mail": {"task": 7}})
    end(first)

    second = host()
    run_all(second)

    assert "what is noted of mail at the broker cannot be read: {'task': 7}" in caplog.text
    assert [record.task for record in ask(second.app).records] == ["proj.mail"]


def test_a_file_that_is_lost_while_standing_by_leaves_the_broker_to_remember(
    host: Host, clock: Clock, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    service = host()
    scheduler = service.scheduler
    assert isinstance(scheduler, PersistentScheduler)
    scheduler._let_go()
    scheduler.schedule_filename = str(tmp_path / "queue.db" / "beat")
    (tmp_path / "queue.db").touch()

    clock.pass_by(10)
    run_all(service)

    assert "what is sent is remembered at the broker alone" in caplog.text
    assert len(sent(service.app)) == 1


def test_a_scheduler_that_keeps_no_notes_sends_only_while_it_leads(
    host: Host, clock: Clock
) -> None:
    first = host(beat_scheduler=Scheduler)
    second = host(beat_scheduler=Scheduler)
    run_all(first)
    assert not second.leads(second.scheduler)
    clock.pass_by(10)

    run_all(first)

    assert ask(first.app).records == []
    assert len(sent(first.app)) == 1


def test_a_group_whose_name_is_too_long_is_refused(make_app: MakeApp) -> None:
    app: App = make_app(beat_group="g" * 201)

    with pytest.raises(ImproperlyConfigured, match="beat_group must be at most 200 bytes"):
        Service(app)
