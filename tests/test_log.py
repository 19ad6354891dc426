"""Log lines: where they go, what they look like, and what user code may change about it."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctl.core import current, log, signals
from taskctl.core.errors import ImproperlyConfigured, LogFileError

TASK_LINE = "%(levelname)s %(task_name)s[%(task_id)s] %(message)s"


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    loggers = [logging.getLogger(), log.base_logger, log.task_logger, log.redirected_logger]
    before = [(logger, list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    yield
    log.reset()
    for logger, handlers, level, propagate in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


@pytest.fixture
def running_task() -> Iterator[None]:
    current.push_task(SimpleNamespace(name="proj.add"), SimpleNamespace(id="8f0c"))
    yield
    current.pop_task()


def test_lines_look_like_celery_s(tmp_path: Path) -> None:
    log.setup("INFO", tmp_path / "w.log")

    logging.getLogger("proj").info("hello")
    logging.getLogger("proj").debug("too quiet")

    (line,) = (tmp_path / "w.log").read_text().splitlines()
    assert line[0] == "[" and line.endswith(": INFO/MainProcess] hello")


def test_lines_of_a_task_bear_its_name_and_id(tmp_path: Path, running_task: None) -> None:
    log.setup("INFO", tmp_path / "w.log", format="%(message)s", task_format=TASK_LINE)

    log.get_task_logger("proj.tasks").info("working")
    logging.getLogger("library").info("plain")

    assert (tmp_path / "w.log").read_text().splitlines() == [
        "INFO proj.add[8f0c] working",
        "plain",
    ]


def test_a_task_logger_outside_a_task_shows_question_marks(tmp_path: Path) -> None:
    log.setup("INFO", tmp_path / "w.log", task_format=TASK_LINE)

    log.get_task_logger("proj.tasks").info("idle")

    assert (tmp_path / "w.log").read_text() == "INFO ???[???] idle\n"


def test_a_library_s_lines_inside_a_task_know_the_task_too(
    tmp_path: Path, running_task: None
) -> None:
    log.setup("INFO", tmp_path / "w.log", format=TASK_LINE)

    logging.getLogger("library").info("from afar")

    assert (tmp_path / "w.log").read_text() == "INFO proj.add[8f0c] from afar\n"


def test_a_task_logger_stays_one_when_its_package_gets_a_logger(tmp_path: Path) -> None:
    logger = log.get_task_logger("late_package.tasks")
    logging.getLogger("late_package")

    log.setup("INFO", tmp_path / "w.log", format="P %(message)s", task_format="T %(message)s")
    logger.info("x")

    assert (tmp_path / "w.log").read_text() == "T x\n"


@pytest.mark.parametrize("name", ["taskctl.task", "celery", "celery.task"])
def test_the_roots_of_task_loggers_are_not_handed_out(name: str) -> None:
    with pytest.raises(RuntimeError, match="is taken"):
        log.get_task_logger(name)


def test_the_root_s_handlers_are_replaced_or_left_alone(tmp_path: Path) -> None:
    root, theirs = logging.getLogger(), logging.NullHandler()
    root.handlers[:] = [theirs]
    root.setLevel(logging.ERROR)

    log.setup("INFO", tmp_path / "w.log", hijack_root=False)
    assert root.handlers == [theirs] and root.level == logging.ERROR
    assert log.task_logger.propagate and not log.task_logger.handlers

    log.setup("INFO", tmp_path / "w.log")
    assert theirs not in root.handlers and root.level == logging.INFO
    assert not log.task_logger.propagate


def test_setting_up_again_moves_to_another_file(tmp_path: Path) -> None:
    log.setup("INFO", tmp_path / "parent.log", format="%(message)s")
    logging.info("one")

    log.setup("INFO", tmp_path / "child-1.log", format="%(message)s")
    logging.info("two")

    assert (tmp_path / "parent.log").read_text() == "one\n"
    assert (tmp_path / "child-1.log").read_text() == "two\n"


def test_a_rotated_file_is_opened_again(tmp_path: Path) -> None:
    log.setup("INFO", tmp_path / "w.log", format="%(message)s")
    logging.info("one")

    (tmp_path / "w.log").rename(tmp_path / "w.log.1")
    logging.info("two")

    assert (tmp_path / "w.log").read_text() == "two\n"


def test_a_folder_for_the_file_is_made(tmp_path: Path) -> None:
    log.setup("INFO", tmp_path / "a" / "b" / "w.log")

    assert (tmp_path / "a" / "b" / "w.log").exists()


def test_a_file_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "w.log"
    handlers = list(logging.getLogger().handlers)

    with pytest.raises(LogFileError) as info:
        log.setup("INFO", path)

    said = str(info.value)
    assert said.startswith(f"cannot write log file {path}: ") and "--logfile" in said
    assert "\n" not in said
    assert logging.getLogger().handlers == handlers


def test_a_wrong_level_names_the_nearest() -> None:
    assert log.parse_level("info") == log.parse_level(20) == logging.INFO
    assert log.parse_level("FATAL") == logging.CRITICAL
    with pytest.raises(ImproperlyConfigured, match=r"unknown log level 'INFOO': INFO\?"):
        log.parse_level("INFOO")
    with pytest.raises(ImproperlyConfigured, match="choose DEBUG, INFO"):
        log.setup("quux")


def test_a_wrong_format_is_named() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"wrong log format '%\(message\)z'"):
        log.setup("INFO", format="%(message)z")


# -- signals


def test_a_receiver_of_setup_logging_takes_it_all_over() -> None:
    told: dict[str, Any] = {}

    def mine(**named: Any) -> None:
        told.update(named)

    handlers = list(logging.getLogger().handlers)
    signals.setup_logging.connect(mine)
    try:
        assert log.setup("INFO", redirect_stdouts=True) is False
    finally:
        signals.setup_logging.disconnect(mine)

    assert (told["loglevel"], told["logfile"], told["colorize"]) == (logging.INFO, None, False)
    assert told["format"] == log.PROCESS_FORMAT
    assert logging.getLogger().handlers == handlers
    assert not isinstance(sys.stdout, log.LogStream)


def test_the_other_signals_hand_out_the_loggers(tmp_path: Path) -> None:
    told = []

    def note(logger: Any = None, format: Any = None, **named: Any) -> None:
        told.append((logger, format))

    both = (signals.after_setup_logger, signals.after_setup_task_logger)
    for signal in both:
        signal.connect(note)
    try:
        assert (
            log.setup("INFO", tmp_path / "w.log", format="%(msg)s", task_format="%(message)s")
            is True
        )
    finally:
        for signal in both:
            signal.disconnect(note)

    assert told == [(logging.getLogger(), "%(msg)s"), (log.task_logger, "%(message)s")]


# -- JSON, journal, colours, secrets


def test_json_is_one_object_a_line(tmp_path: Path, running_task: None) -> None:
    log.setup("INFO", tmp_path / "w.log", json=True)

    logging.info("a\nb %s", 1, extra={"queue": "images", "odd": object})
    try:
        raise ValueError("lost redis://:pw@h")
    except ValueError:
        logging.exception("it failed")

    first, second = map(json.loads, (tmp_path / "w.log").read_text().splitlines())
    assert first["message"] == "a\nb 1" and first["level"] == "INFO"
    assert (first["task_id"], first["task_name"]) == ("8f0c", "proj.add")
    assert first["queue"] == "images" and first["odd"] == repr(object)
    assert first["pid"] == os.getpid() and first["time"].endswith("+00:00")
    assert "ValueError: lost redis://:********@h" in second["exception"]


@given(st.text(max_size=20), st.dictionaries(st.sampled_from(["a", "level"]), st.text(max_size=5)))
def test_any_record_is_one_line_of_json(message: str, extra: dict[str, str]) -> None:
    record = logging.makeLogRecord({"msg": message, "levelname": "INFO", **extra})

    text = log.JsonFormatter().format(record)

    assert "\n" not in text
    assert json.loads(text)["message"] == message and json.loads(text)["level"] == "INFO"


def test_lines_for_the_journal_bear_a_priority_and_no_time() -> None:
    formatter = log.JournalFormatter(log.PROCESS_FORMAT)
    record = logging.makeLogRecord(
        {"name": "x", "msg": "a\nb", "levelname": "WARNING", "processName": "MainProcess"}
    )

    assert formatter.format(record) == "<4>[WARNING/MainProcess] a\n<4>b"


def test_secrets_in_urls_of_our_own_lines_are_masked(tmp_path: Path) -> None:
    log.setup("INFO", tmp_path / "w.log", format="%(message)s")

    log.worker_logger.warning("lost %s", "redis://:pw@h/0")

    assert (tmp_path / "w.log").read_text() == "lost redis://:********@h/0\n"


PROGRAM = """
import sys, logging
from taskctl.core import log
log.setup("INFO", redirect_stdouts=True, format="%(levelname)s %(message)s", **eval(sys.argv[1]))
logging.error("wrong")
print("one", "line")
sys.stderr.write("two\\nlines\\n")
sys.stdout.write("the rest"); sys.stdout.flush()
"""


def run(options: str = "{}", **environment: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, options],
        capture_output=True, text=True, check=True, timeout=30,
        env={**os.environ, **environment},
    )  # fmt: skip
    return done.stdout, done.stderr


def test_what_is_printed_becomes_whole_lines_of_the_log() -> None:
    assert run() == (
        "",
        "ERROR wrong\nWARNING one line\nWARNING two\nWARNING lines\nWARNING the rest\n",
    )


def test_colours_are_for_terminals() -> None:
    assert "\x1b[" not in run()[1]
    assert "\x1b[1;31mERROR wrong\x1b[0m" in run("{'colour': True}")[1]


def on_a_terminal(**environment: str) -> str:
    parent, child = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-c", PROGRAM, "{}"],
            stderr=child, check=True, timeout=30, env={**os.environ, **environment},
        )  # fmt: skip
        return os.read(parent, 4096).decode()
    finally:
        os.close(parent)
        os.close(child)


def test_a_terminal_gets_colours_unless_the_environment_says_no() -> None:
    assert "\x1b[1;31mERROR wrong\x1b[0m" in on_a_terminal(TERM="xterm", NO_COLOR="")
    assert "\x1b[" not in on_a_terminal(TERM="xterm", NO_COLOR="1")


def test_stderr_that_is_the_journal_is_recognized(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull, "w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setattr(sys, "__stderr__", stream)
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        assert log.under_journal()

        monkeypatch.setenv("JOURNAL_STREAM", "1:2")
        assert not log.under_journal()


# -- redirection


def test_lines_of_threads_do_not_mix_and_stdout_is_given_back(tmp_path: Path) -> None:
    before = sys.stdout
    log.setup("INFO", tmp_path / "w.log", format="%(levelname)s %(message)s", redirect_stdouts=True,
              redirect_level="ERROR")  # fmt: skip

    sys.stdout.write("half ")
    sys.stdout.write("a line\n\n  \n")
    sys.stdout.write("unfinished")
    log.restore_stdouts()

    assert sys.stdout is before
    assert (tmp_path / "w.log").read_text() == "ERROR half a line\nERROR unfinished\n"


def test_a_handler_that_prints_does_not_go_round_in_circles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Loud(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            print("handling", record.getMessage())

    real = io.StringIO()
    monkeypatch.setattr(sys, "__stderr__", real)
    log.redirected_logger.addHandler(Loud())
    log.redirect("WARNING")

    print("hello")
    log.restore_stdouts()

    assert real.getvalue() == "handling hello\n"
