"""The command line of multi: names, counts, ranges, options for all and for some."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from taskctl.commands.multi import run
from taskctl.commands.worker_options import GLOBAL_OPTIONS, WORKER_OPTIONS
from taskctl.multi.grammar import UsageError, parse
from taskctl.multi.nodes import Node
from taskctl.multi.resolve import nodes_to_start

HOST = socket.gethostname()


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for kind in ("RUN", "LOG", "STATE"):
        monkeypatch.setenv(f"TASKCTL_{kind}_DIR", str(tmp_path / kind.lower()))
    return tmp_path


def nodes(*argv: str, global_args: tuple[str, ...] = ()) -> list[Node]:
    line = parse(["start", *argv], global_args)
    return nodes_to_start(line, line.words)[0]


def options(node: Node) -> list[str]:
    """What the node is told between `worker` and its own name."""
    return list(node.argv[node.argv.index("worker") + 1 : node.argv.index("-n")])


def names(*argv: str) -> list[str]:
    return [node.name for node in nodes(*argv)]


def refused(*argv: str) -> str:
    with pytest.raises(UsageError) as caught:
        nodes(*argv)
    return str(caught.value)


def test_a_number_stands_for_so_many_nodes() -> None:
    assert names("3") == [f"celery{number}@{HOST}" for number in (1, 2, 3)]
    assert names("2", "--range-prefix=worker") == [f"worker1@{HOST}", f"worker2@{HOST}"]


def test_each_word_is_a_name() -> None:
    assert names("image-1", "video", "data@web3") == [
        f"image-1@{HOST}",
        f"video@{HOST}",
        "data@web3",
    ]


def test_prefix_suffix_and_host_make_the_name() -> None:
    assert names("a", "--prefix=jerry-", "--hostname=web3") == ["jerry-a@web3"]
    assert names("a", "-n", "web3", "--suffix", "web4") == ["a@web4"]
    assert names("a", "--suffix", '""') == ["a@"]


def test_a_name_with_an_at_is_taken_as_it_is_but_for_its_letters() -> None:
    assert names("foo@%h", "bar@web3", "--prefix=x") == [f"foo@{HOST}", "bar@web3"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "multi start wants names of nodes or a number of them, got nothing"),
        (["0"], "multi start wants names of nodes or a number of them, got 0"),
        (["w1", "w1"], f"two nodes of one name: w1@{HOST}"),
        (["../w1"], f"'../w1@{HOST}' cannot be the name of a node"),
        ([""], f"'@{HOST}' cannot be the name of a node"),
        (["a\nb"], f"'a\\nb@{HOST}' cannot be the name of a node"),
    ],
)
def test_names_that_make_no_sense_are_refused(argv: list[str], message: str) -> None:
    assert refused(*argv) == message


def test_celerys_advanced_example_gives_each_node_its_options() -> None:
    line = "10 -A proj -l INFO -Q:1-3 images,video -Q:4,5 data -Q default -L:4,5 DEBUG"

    told = [options(node) for node in nodes(*line.split())]

    assert told[:3] == [["-l", "INFO", "-Q", "images,video"]] * 3
    assert told[3:5] == [["-l", "DEBUG", "-Q", "data"]] * 2
    assert told[5:] == [["-l", "INFO", "-Q", "default"]] * 5


def test_options_for_some_go_by_position_by_name_and_by_full_name() -> None:
    told = nodes("foo", "bar", "baz", "-c", "3", "-c:1,baz", "10", f"-l:bar@{HOST}", "DEBUG")

    assert [options(node) for node in told] == [
        ["-c", "10"],
        ["-c", "3", "-l", "DEBUG"],
        ["-c", "10"],
    ]


def test_options_for_some_may_be_long_and_have_another_spelling() -> None:
    told = nodes("3", "-Q", "a", "--max-tasks-per-child:1-2=10", "--queues:3", "b", "-E:2")

    assert [options(node) for node in told] == [
        ["-Q", "a", "--max-tasks-per-child=10"],
        ["-Q", "a", "--max-tasks-per-child=10", "-E"],
        ["--queues=b"],
    ]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["2", "-c:9", "3"], "-c:9: no node 9: positions go from 1 to 2"),
        (["2", "-c:0", "3"], "-c:0: no node 0: positions go from 1 to 2"),
        (["a", "b", "-c:x", "3"], "-c:x: no node 'x': there are a, b"),
        (["a", "b", "-c:1-2", "3"], "-c:1-2: ranges go with a number of nodes, not with names"),
        (["a", "-n:1", "x"], "-n:1: -n is for all nodes"),
    ],
)
def test_a_scope_without_a_node_is_refused(argv: list[str], message: str) -> None:
    assert refused(*argv) == message


def test_members_of_a_range_beyond_the_last_node_are_left_out_with_a_warning() -> None:
    line = parse(["start", "2", "-c:1-5", "3"])

    found, warnings = nodes_to_start(line, line.words)

    assert [options(node) for node in found] == [["-c", "3"]] * 2
    assert warnings == ["-c:1-5: there are only 2 nodes; the others are left out"]


def test_values_may_be_joined_parted_or_behind_an_equals_sign() -> None:
    assert options(nodes("w", "-c4", "-l", "INFO", "--queues", "a b", "--pool=solo")[0]) == [
        "-c",
        "4",
        "-l",
        "INFO",
        "--queues=a b",
        "--pool=solo",
    ]


def test_flags_take_nothing_and_may_stand_together() -> None:
    assert names("-E", "w1", "--purge", "w2") == [f"w1@{HOST}", f"w2@{HOST}"]
    assert options(nodes("w", "-EE")[0]) == ["-E"]
    assert options(nodes("w", "-Ec", "4")[0]) == ["-E", "-c", "4"]
    assert refused("w", "--events=yes") == "--events=yes: --events takes no value"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["w", "--concurency", "3"], "unknown option --concurency"),
        (["w", "-c"], "-c needs a value"),
        (["w", "-c", "-E"], "-c needs a value, but option -E follows"),
        (
            ["w", "--timeout", "3"],
            "--timeout is not an option of multi start, but of: stop stopwait restart",
        ),
        (["w", "--parallel=x"], None),
    ],
)
def test_options_that_make_no_sense_are_refused(argv: list[str], message: str | None) -> None:
    if message is None:
        assert run(["start", *argv]) == 2
    else:
        assert refused(*argv) == message


def test_global_options_move_in_front_of_worker_wherever_they_stood() -> None:
    node = nodes("w1", "-b", "redis://a/1", "-c", "2", global_args=("-A", "proj", "-C"))[0]

    assert node.argv[1:] == (
        *("-m", "taskctl", "-A", "proj", "-C", "-b", "redis://a/1", "worker", "-c", "2"),
        *("-n", f"w1@{HOST}", f"--pidfile={node.pidfile}", node.argv[-2], node.argv[-1]),
    )


def test_the_last_of_a_global_option_wins() -> None:
    node = nodes("w1", "-A", "later", global_args=("-A", "early"))[0]

    assert node.argv[3:5] == ("-A", "later")


def test_detach_is_what_multi_does_anyway() -> None:
    assert options(nodes("w1", "-D", "--detach")[0]) == []


def test_files_are_where_the_worker_will_put_them(places: Path) -> None:
    node = nodes("w1")[0]

    assert f"--logfile={places}/log/w1%I.log" in node.argv
    assert node.logfile == f"{places}/log/w1.log"
    assert node.pidfile == f"{places}/run/w1.pid"


def test_relative_files_are_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    here = nodes("w1", "--pidfile=%n.pid")[0]
    there = nodes("w1", "-p", "%n.pid", "--workdir", "sub")[0]

    assert here.pidfile == f"{tmp_path}/w1.pid"
    assert there.pidfile == f"{tmp_path}/sub/w1.pid"
    assert f"--workdir={tmp_path}/sub" in there.argv


def test_a_name_with_percent_signs_reaches_the_worker_whole(places: Path) -> None:
    node = nodes("50%%@web3")[0]

    assert node.name == "50%@web3"
    assert node.argv[node.argv.index("-n") + 1] == "50%%@web3"
    assert node.pidfile == f"{places}/run/50%.pid"


def test_the_health_file_is_looked_for_where_the_worker_writes_it(
    places: Path, tmp_path: Path
) -> None:
    by_default, given = nodes("w1")[0], nodes("w1", f"--health-file={tmp_path}/%n.h")[0]

    assert by_default.healthfile == f"{places}/run/w1@{HOST}.health"
    assert not any(word.startswith("--health-file") for word in by_default.argv)
    assert given.healthfile == f"{tmp_path}/w1.h"
    assert f"--health-file={tmp_path}/w1.h" in given.argv


def test_what_stands_behind_two_dashes_is_passed_on_untouched() -> None:
    node = nodes("w1", "--append", "last of %n", "--", "-A", "worker.x=1", "w 2")[0]

    assert node.argv[-5:] == ("--", "-A", "worker.x=1", "w 2", "last of w1")


def test_another_command_may_be_run() -> None:
    node = nodes("w1", "-A", "proj", "--executable=/opt/py", "--cmd", "-m 'my tool' worker -q")[0]

    assert node.argv[:7] == ("/opt/py", "-m", "my tool", "-A", "proj", "worker", "-q")


@pytest.mark.parametrize(
    ("word", "number"), [("-9", 9), ("-15", 15), ("-INT", 2), ("-SIGQUIT", 3), ("--signal=HUP", 1)]
)
def test_a_signal_is_named_as_kill_names_it(word: str, number: int) -> None:
    assert parse(["stop", "w1", word]).signal == number
    assert parse(["stop", word, "w1"]).words == ["w1"]


def test_every_worker_option_is_known_by_all_its_names() -> None:
    for option in (*GLOBAL_OPTIONS, *WORKER_OPTIONS):
        for spelling in option.names:
            if option.name in ("--hostname", "--detach", "--check"):
                continue
            words = [spelling, "v"] if option.takes_value else [spelling]
            (setting,) = parse(["start", "w1", *words]).settings
            assert setting.option is option


#: Any word the system can pass as an argument: no NUL, and what UTF-8 can encode.
WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=30)


@given(st.lists(WORDS, max_size=5), st.lists(WORDS, max_size=5))
def test_values_and_passed_on_words_are_never_joined_split_or_expanded(
    values: list[str], rest: list[str]
) -> None:
    spellings = ["--queues", "--include", "--loglevel", "--umask", "--app"][: len(values)]
    given_options = [f"{name}={value}" for name, value in zip(spellings, values, strict=True)]

    (node,) = nodes("w1", *given_options, "--", *rest)

    told = [word for word in node.argv if word.startswith(tuple(f"{name}=" for name in spellings))]
    assert sorted(told[: len(given_options)]) == sorted(given_options)
    assert list(node.argv[len(node.argv) - len(rest) :]) == rest


@given(WORDS)
def test_a_value_in_a_word_of_its_own_arrives_as_it_is(value: str) -> None:
    assume(not value.startswith("-"))

    assert options(nodes("w1", "-Q", value, "-Q:1", value)[0]) == ["-Q", value]


@given(
    st.lists(st.sampled_from("start 3 w1 -c -c:1 -Q:1-2 -9 -- = : -: --=x -A --x:y -EB %".split()))
)
def test_any_line_is_understood_or_refused_in_one_sentence(argv: list[str]) -> None:
    try:
        line = parse(["names", *argv])
        nodes_to_start(line, line.words)
    except UsageError as exc:
        assert "\n" not in str(exc)
