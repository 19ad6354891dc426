"""How long an operator waits: commands beside Celery's of the same purpose, in turn."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from .report import Claim, Figure
from .rounds import Sample, take_turns
from .stand import CELERY, TASKCTL_APART, Contestant, Stand, now
from .startup import Cost, program

#: taskctl as it is taken here.
OURS = TASKCTL_APART
#: Nodes that `multi` starts and stops.
NODES = 6
#: Times each short command is run.
RUNS = 9
#: Seconds that `inspect` is given against a broker that does not answer.
TIMEOUT = 1.0

METHOD = f"""\
The installed programs, as a shell would start them, in turn; byte code is cached for both.
`status`, `probe` and `ping` have one idle worker with two children to ask, each product its own, on
Redis.
`multi` starts and stops {NODES} nodes of one child each; Celery's `multi start` returns before its
nodes are ready, taskctl's once they are. The broker that does not answer accepts connections and
says nothing. Wall
time of one process, and processor time where it is promised."""

#: What is compared: the words of taskctl, those of Celery, and what their ratio may be.
_SHORT: tuple[tuple[str, str, float], ...] = (
    ("--version", "--version", 0.2),
    ("--help", "--version", 0.2),
    ("COMPLETE st", "--version", 0.2),
)
_ASKING: tuple[tuple[str, str, float], ...] = (
    ("-A APP status", "-A APP status", 0.2),
    ("probe live -n NODE", "-A APP inspect ping -d NODE", 0.125),
)


def run(argv: Sequence[str], env: Mapping[str, str], good: Sequence[int] = (0,)) -> Cost:
    """Run a program to its end."""
    silence = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    began = now()
    pid = os.posix_spawn(argv[0], argv, env, file_actions=silence)
    _, status, usage = os.wait4(pid, 0)
    wall = now() - began
    if os.waitstatus_to_exitcode(status) not in good:
        raise RuntimeError(f"{' '.join(argv)} ended with {os.waitstatus_to_exitcode(status)}")
    return Cost(round(wall * 1000, 2), round((usage.ru_utime + usage.ru_stime) * 1000, 2))


def measure(stand: Stand, contestant: Contestant, text: str) -> Cost:
    """Run a command line of the tables once."""
    env = {**stand.env(contestant), "PYTHONPATH": os.getcwd()}
    words = text.replace("APP", f"benchmarks.apps.{contestant.product}_app")
    words = words.replace("NODE", node())
    if words.startswith("COMPLETE "):
        env |= {"_OURS_COMPLETE": "bash_complete", "COMP_CWORD": "1"}
        env["COMP_WORDS"] = f"taskctl\n{words.partition(' ')[2]}"
        words = ""
    return run([program(contestant), *words.split()], env)


def node() -> str:
    """Return the name of the stand's worker."""
    return f"bench@{socket.gethostname()}"


def _compare(
    stand: Stand, pairs: Sequence[tuple[str, str, float]], rounds: int
) -> Iterator[tuple[list[str], list[Claim]]]:
    for ours, theirs, bound in pairs:
        words = {OURS: ours, CELERY: theirs}
        costs = take_turns([OURS, CELERY], rounds, lambda c, w=words: measure(stand, c, w[c]))
        wall = {c: Sample([cost.wall for cost in taken]) for c, taken in costs.items()}
        cpu = Sample([cost.cpu for cost in costs[OURS]])
        name = f"`{_shown('taskctl', ours)}`"
        against = f"`{_shown('celery', theirs)}`"
        ratio = wall[OURS].over(wall[CELERY])
        claims = [Claim(f"{name} / {against}", ratio, at_most=bound)]
        if ours.startswith("probe"):
            claims.append(Claim(f"{name}, processor, ms", cpu, at_most=60))
        yield [name, wall[OURS].show(1), against, wall[CELERY].show(1)], claims


def _shown(name: str, words: str) -> str:
    if words.startswith("COMPLETE "):
        return f"{name} {words.partition(' ')[2]}<TAB>"
    return f"{name} {words.replace('APP', 'proj').replace('NODE', 'w1@host')}"


def commands(stand: Stand, rounds: int) -> Figure:
    """Take the figure of the command line."""
    rows: list[list[str]] = []
    claims: list[Claim] = []
    runs = max(RUNS, rounds)
    for contestant in (OURS, CELERY):
        run([program(contestant), "--help"], stand.env(contestant))
    taken = list(_compare(stand, _SHORT, runs))
    with _workers(stand):
        for words in ("-A APP status", "-A APP inspect ping -d NODE"):
            for contestant in (OURS, CELERY):
                measure(stand, contestant, words)  # fills the cache of byte code
        taken += _compare(stand, _ASKING, runs)
    for row, its in [*taken, *_multi(stand, rounds), _silent_broker(stand, rounds)]:
        rows.append(row)
        claims += its
    columns = ["", "wall, ms: median (range)", "beside", "wall, ms: median (range)"]
    return Figure("The command line", METHOD, columns, rows, rounds, claims)


@contextmanager
def _workers(stand: Stand) -> Iterator[None]:
    """Run one worker of each product; they do not meet, since each has a database of its own."""
    stand.clear()
    with stand.idle_worker(OURS), stand.idle_worker(CELERY):
        yield


def _multi(stand: Stand, rounds: int) -> Iterator[tuple[list[str], list[Claim]]]:
    """Start and stop the nodes, both programs in turn."""
    began: dict[Contestant, list[float]] = {}
    ended: dict[Contestant, list[float]] = {}
    taken = take_turns([OURS, CELERY], rounds, lambda c: _start_and_stop(stand, c))
    for contestant, times in taken.items():
        began[contestant] = [start for start, _ in times]
        ended[contestant] = [stop for _, stop in times]
    for word, costs, bound in (("start", began, 1.0), ("stopwait", ended, 0.25)):
        wall = {contestant: Sample(values) for contestant, values in costs.items()}
        ours, theirs = f"`taskctl multi {word} {NODES}`", f"`celery multi {word} {NODES}`"
        ratio = wall[OURS].over(wall[CELERY])
        row = [ours, wall[OURS].show(0), theirs, wall[CELERY].show(0)]
        yield row, [Claim(f"{ours} / {theirs}", ratio, at_most=bound)]


def _start_and_stop(stand: Stand, contestant: Contestant) -> tuple[float, float]:
    """Return how many milliseconds the start and the stop of all nodes took."""
    stand.clear()
    folder = stand.folder / "multi"
    folder.mkdir(exist_ok=True)
    env = {**stand.env(contestant), "PYTHONPATH": os.getcwd()}
    files = [f"--pidfile={folder}/%n.pid", f"--logfile={folder}/%n%I.log"]
    app = ["-A", f"benchmarks.apps.{contestant.product}_app", "-c", "1"]
    multi = [program(contestant), "multi"]
    try:
        start = run([*multi, "start", str(NODES), *app, *files], env)
        _until_all_answer(stand, contestant, env)
        stop = run([*multi, "stopwait", str(NODES), *files], env)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return start.wall, stop.wall


def _until_all_answer(stand: Stand, contestant: Contestant, env: Mapping[str, str]) -> None:
    """Wait until every node is ready: Celery's are not when its command returns."""
    host = socket.gethostname()
    names = ",".join(f"celery{number}@{host}" for number in range(1, NODES + 1))
    ask = [program(OURS), "-b", stand.url(contestant), "status", "-t", "5", "-d", names]
    deadline = now() + 60
    while True:
        try:
            run(ask, env)
            return
        except RuntimeError:
            if now() > deadline:
                raise


def _silent_broker(stand: Stand, rounds: int) -> tuple[list[str], list[Claim]]:
    """Ask through a broker that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        env = stand.env(OURS)
        argv = [program(OURS), "-b", url, "inspect", "ping", "-t", str(TIMEOUT)]
        run(argv, env, good=(69,))
        waited = Sample([run(argv, env, good=(69,)).wall for _ in range(rounds)])
    name = f"`taskctl inspect ping -t {TIMEOUT:g}`, broker silent"
    return [name, waited.show(0), "", ""], [
        Claim(f"{name}, ms", waited, at_most=TIMEOUT * 1000 + 200)
    ]
