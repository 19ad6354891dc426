"""A node without a broker: the pidfile, the ready pipe and the signals of a worker, no more.

Run by `taskctl multi --cmd`. `--include` says how it behaves:
`die-N` ends with exit N at once, with words on stderr; `fail-N` says why on the ready pipe;
`slow-S` takes S seconds to be ready; `deaf` ignores TERM; `linger-S` takes S seconds to end;
`unready` never gets ready; `crash` kills itself while booting.
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
from taskctl.core.pidfile import Pidfile


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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
