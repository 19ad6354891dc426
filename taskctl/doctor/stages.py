"""The checks in the order they run; each stands on those it needs."""

from __future__ import annotations

from . import fleet, host, site
from .findings import Check

CHECKS: tuple[Check, ...] = (
    Check("python", host.check_python),
    Check("places", host.check_places),
    Check("multi", host.check_multi),
    Check("app", site.check_app),
    Check("settings", site.check_settings, ("app",)),
    Check("broker", site.check_broker),
    Check("storage", site.check_storage, ("broker",)),
    Check("results", site.check_results, ("broker",)),
    Check("nodes", fleet.check_nodes, ("broker",)),
    Check("versions", fleet.check_versions, ("broker", "nodes")),
    Check("clocks", fleet.check_clocks, ("broker", "nodes")),
    Check("queues", fleet.check_queues, ("broker", "nodes")),
    Check("unacked", fleet.check_unacked, ("broker", "nodes")),
    Check("tasks", fleet.check_tasks, ("broker", "nodes")),
    Check("dead", fleet.check_dead_letters, ("broker",)),
    Check("litter", fleet.check_litter, ("broker",)),
)
