"""The files of a new project, as text: what `taskctl init` writes."""

from __future__ import annotations

_APP = '''\
"""The app of {name}: what its clients and its workers share."""

from taskctl import App

app = App("{name}", include=["{name}.tasks"])
app.config_from_object("{name}.config")
'''

_TASKS = '''\
"""The tasks of {name}. Write them so that running twice is no harm."""

import time

from .app import app


@app.task
def add(x, y):
    """Return the sum."""
    return x + y


@app.task
def wait(seconds):
    """Take some time; watch it with `taskctl inspect active`."""
    time.sleep(seconds)
    return seconds
'''

_CONFIG = '''\
"""The settings of {name}. All of them: taskctl config show -a; one: taskctl config explain KEY."""

# Without a URL messages and results are kept in .taskctl/queue.db beside the package, for one host.
# For several hosts name a Redis server, in the environment if it has a password:
#   export TASKCTL_BROKER_URL=redis://localhost:6379/0
#   export TASKCTL_RESULT_BACKEND=redis://localhost:6379/1

# A task that runs longer is told after the first, and killed after the second (seconds).
task_soft_time_limit = 300
task_time_limit = 330

# Results are dropped after a day.
result_expires = 86400
'''

_TOML = """\
# Read by taskctl in this folder and below it: no -A is needed.
app = "{name}"
"""

_README = """\
# {name}

Start a worker, in this folder; Ctrl-C ends it:

```sh
taskctl worker -l INFO
```

In another terminal, call a task and wait for its result:

```sh
taskctl call {name}.tasks.add -a '[2, 3]' --wait 10
```

From Python:

```sh
python -c "from {name}.tasks import add; print(add.delay(2, 3).get(timeout=10))"
```

See what goes on, and what is wrong:

```sh
taskctl status
taskctl inspect registered
taskctl config check
taskctl doctor
```

Tasks are in `{name}/tasks.py`, settings in `{name}/config.py`. Several workers in the background:
`taskctl multi start 2 -l INFO`, and `taskctl multi stopwait` to end them.
"""

_FILES = {
    "{name}/__init__.py": "",
    "{name}/app.py": _APP,
    "{name}/tasks.py": _TASKS,
    "{name}/config.py": _CONFIG,
    "taskctl.toml": _TOML,
    "README.md": _README,
}


def project_files(name: str) -> dict[str, str]:
    """Return the text of each file of a project, by its path in the project's folder."""
    return {
        path.replace("{name}", name): text.replace("{name}", name) for path, text in _FILES.items()
    }
