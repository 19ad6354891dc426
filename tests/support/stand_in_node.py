"""A node without a broker: the pidfile, the ready pipe and the signals of a worker, no more.

Run by `taskctl multi --cmd`. `--include` says how it behaves:
`die-N` ends with exit N at once, with words on stderr; `fail-N` says why on the ready pipe;
`slow-S` takes S seconds to be ready; `deaf` ignores TERM; `linger-S` takes S seconds to end;
`unready` never gets ready; `crash` kills itself while booting. In its health file `busy` says
that it runs two tasks, the older one for 8 s, `idle` that it runs none, `blind` that its broker
is away, and `stuck` has said nothing for a minute.
The arguments it got are left beside the pidfile, as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

from taskctl.core.daemon import claim_ready_pipe, report_failed, report_ready
from taskctl.core.errors import PidfileHeld
from taskctl.core.health import Health, default_health_file, write_health
from taskctl.core.pidfile import Pidfile
from taskctl.core.process import birth


def main(argv: list[str]) -> int:
    claim_ready_pipe()
    started = time.monotonic()
    options = dict(word.split("=", 1) for word in argv if word.startswith("--") and "=" in word)
    verb, _, number = options.get("--include", "").partition("-")
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: None if verb == "deaf" else ended.append("TERM"))
    signal.signal(signal.SIGINT, lambda *_: ended.append("INT"))
    pidfile = Pidfile(options["--pidfile"].replace("%%", "%"))
    try:
        pidfile.acquire()
    except PidfileHeld as exc:
        report_failed(73, str(exc))
        return 73
    with open(pidfile.path + ".argv", "w") as file:
        json.dump({"argv": argv, "cwd": os.getcwd(), "mark": os.environ.get("CELERY_MARK")}, file)
    if verb == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if verb in ("die", "fail"):
        print(f"stand-in: broken as asked, {verb} {number}", file=sys.stderr, flush=True)
        if verb == "fail":
            report_failed(int(number), "unknown setting 'task_acks_lat'")
        pidfile.release()
        return int(number)
    if verb == "slow":
        time.sleep(float(number))
    if verb in ("busy", "idle", "blind", "stuck"):
        _say_how_it_is(argv[argv.index("-n") + 1].replace("%%", "%"), verb)
    if verb != "unready":
        pidfile.mark_ready()
        report_ready({"seconds": time.monotonic() - started, "queues": ["images", "video"]})
    while not ended:
        signal.pause()
    print(f"stand-in: got {ended[0]}", file=sys.stderr, flush=True)
    if verb == "linger":
        time.sleep(float(number))
    pidfile.release()
    return 0


def _say_how_it_is(node: str, verb: str) -> None:
    busy = 0 if verb == "idle" else 2
    facts = {"state": "ok", "busy": busy, "oldest_seconds": 8.0 if busy else None}
    health = Health(
        node=node,
        pid=os.getpid(),
        born=birth(os.getpid()) or "",
        at=time.time() - (60 if verb == "stuck" else 0),
        every=15.0,
        ready=verb != "blind",
        reasons=("the broker is away",) if verb == "blind" else (),
        facts=facts,
    )
    write_health(default_health_file(node), health)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
