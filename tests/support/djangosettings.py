"""Settings of the site of the tests for processes beside them; DJANGO_SITE says which it is."""

from __future__ import annotations

import os
from pathlib import Path

from .djangosite import options

_port, _, _folder = os.environ["DJANGO_SITE"].partition(":")
globals().update(options(Path(_folder), int(_port)))
