"""How many messages a worker takes from the broker before it can run them."""

from __future__ import annotations

from .request import Request

#: How much work is kept at hand in front of the children, in seconds of their time.
BUFFER = 0.2
#: Most messages held, however short they are, unless more can run at once: what a lost worker
#: gives back in one go.
MAX_HELD = 2000
#: Weight of the newest run time in the running mean.
WEIGHT = 0.1


class Prefetch:
    """Decides how many more messages there is room for.

    `multiplier` "auto" keeps about 200 ms of work at hand, judged from the run times of each
    task: long tasks get no buffer at all, short ones come by the hundred.  A number is Celery's
    worker_prefetch_multiplier: that many a child, 0 without limit.
    """

    def __init__(self, multiplier: int | str) -> None:
        self.multiplier = multiplier
        self._means: dict[str, float] = {}
        #: Mean over all tasks in the order they ended; unknown until the first did.
        self._mean: float | None = None
        #: Estimated run time of what is held and not begun, in seconds.
        self._backlog = 0.0

    def room(self, children: int, held: int, overtime: float = 0.0) -> int:
        """Return how many messages to ask for; `held` are requests taken and not settled.

        `overtime` is what running tasks need beyond their estimates, as `overtime` counts it.
        """
        if self.multiplier != "auto":
            limit = int(self.multiplier) * children
            return max(MAX_HELD, children) if limit == 0 else max(0, limit - held)
        room = children - held
        if self._mean is not None:
            spare = BUFFER * children - self._backlog - overtime
            room = max(room, int(spare / max(self._mean, 1e-5)))
        return max(0, min(room, max(MAX_HELD, children) - held))

    def usual(self, name: str) -> float | None:
        """Return how long a task runs as a rule, in seconds; None for one that never ended here."""
        return self._means.get(name)

    def estimate(self, name: str) -> float:
        """Return how long a task is expected to run; one never seen counts as long."""
        return self._means.get(name, BUFFER)

    def overtime(self, request: Request, elapsed: float) -> float:
        """Return how far a running task has passed its estimate, as far as it matters: a child
        at a long task takes nothing from the buffer, and no more than its own share of it."""
        return max(0.0, min(elapsed, BUFFER) - request.estimate)

    def took(self, request: Request) -> None:
        """Count a request as held."""
        request.estimate = self.estimate(request.type)
        self._backlog += request.estimate

    def gave(self, request: Request) -> None:
        """Count a held request as settled, or given back."""
        self._backlog = max(0.0, self._backlog - request.estimate)

    def ran(self, name: str, runtime: float) -> None:
        """Learn from a run time, in seconds."""
        known = self._means.get(name)
        # The mean follows a rise at once and a fall slowly: holding too little costs a little
        # speed, holding too much makes others wait.
        if known is None or runtime > known * 4:
            self._means[name] = runtime
        else:
            self._means[name] = known + WEIGHT * (runtime - known)
        mean = self._means[name]
        if self._mean is None or mean > self._mean:
            self._mean = mean if self._mean is None else self._mean + 0.5 * (mean - self._mean)
        else:
            self._mean += WEIGHT * (mean - self._mean)
