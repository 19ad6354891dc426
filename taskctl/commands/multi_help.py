"""The help of `taskctl multi`: its grammar is its own, so its help is too."""

from __future__ import annotations

from collections.abc import Iterator

from taskctl.multi.grammar import OWN_OPTIONS, OwnOption

_INTRO = """\
Usage: taskctl [GLOBAL] multi COMMAND [NAMES | N] [OPTIONS] [-- ARGS]

  Start, stop, restart and look at several nodes on this host.

  $ taskctl multi start 3 -A proj -l INFO -Q:1-2 images -Q:3 video
  $ taskctl multi restart 3 --rolling

Commands:
  start     start nodes, wait until each is ready
  stop      tell nodes to stop; stopwait (stop --wait) sees them go
  restart   stop nodes and start each as soon as it is down; names are enough
  kill      kill nodes at once
  status    how each node is; exit 0 all ready, 3 some, 69 none
  logs      the last lines of the logs; -f follows, -n N lines, --since T
  forget    drop the record of nodes
  show      the command line of each node
  names     the full names
  expand    expand a template for each node: multi expand %n.pid 3
  get       the arguments of one node: multi get w1 w1 w2
  help      this text

Names:
  A number N stands for celery1 ... celeryN; else each word is a name. `x`
  becomes x@HOST; a name with @ is taken as it is (%h host, %n its first label,
  %d domain).
  Without names stop, restart, status and logs mean all nodes on record.

Options of nodes:
  What is not listed below goes to each node: see taskctl worker --help. To
  some nodes only: -c:1 10, -Q:1-3 a,b, -l:foo,bar DEBUG; numbers are positions,
  ranges go with a number of nodes. What stands after -- goes to each node as it
  is.

Templates (--pidfile, --logfile, --statedb, --schedule, --health-file):
  %n short name, %h and %p full name, %d host, %i and %I number of the child
  (left to the worker), %% percent.
"""
#: Headings, and which options stand below each.
_GROUPS = (
    ("Naming", ("--hostname", "--prefix", "--suffix", "--range-prefix")),
    ("What is run", ("--cmd", "--append")),
    ("Starting (start, restart)", ("--parallel", "--ready-timeout", "--no-wait")),
    ("Stopping (stop, stopwait, restart)", ("--signal", "--wait", "--timeout", "--then-kill")),
    ("Restarting", ("--rolling", "--max-down")),
    ("Killing", ("--dry-run", "--yes")),
    ("Logs", ("--follow", "--lines", "--since")),
    ("Status", ("--watch", "--where", "--sort", "--fields", "--no-header")),
    ("Showing (show, get)", ("--no-censor",)),
    ("Output", ("--output", "--json", "--quiet", "--verbose", "--nosplash", "--help")),
)  # fmt: skip


def help_lines() -> Iterator[str]:
    """Return the help, line by line, at most 80 columns wide."""
    yield from _INTRO.splitlines()
    options = {option.name: option for option in OWN_OPTIONS}
    for heading, names in _GROUPS:
        yield ""
        yield f"{heading}:"
        for name in names:
            yield _option_line(options.pop(name))
    assert not options, f"without a heading: {', '.join(options)}"


def _option_line(option: OwnOption) -> str:
    names = ", ".join(option.names) + (f" {option.metavar}" if option.takes_value else "")
    return f"  {names:<22}  {option.help}"
