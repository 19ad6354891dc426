"""Cameras: `from taskctl.events.snapshot import Polaroid`."""

from taskctl.core.remote.snapshot import Polaroid

__all__ = ["Polaroid"]
