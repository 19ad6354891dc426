"""Signals of a pool that taskctl has not: who connects to them is never called."""

from __future__ import annotations

from taskctl.core.signals import Signal

eventlet_pool_started = Signal("eventlet_pool_started")
eventlet_pool_preshutdown = Signal("eventlet_pool_preshutdown")
eventlet_pool_postshutdown = Signal("eventlet_pool_postshutdown")
eventlet_pool_apply = Signal("eventlet_pool_apply", ("target", "args", "kwargs"))
