"""What is held while others' libraries are used that must not be forked beside.

SQLite's library holds locks of its process while it works, and a child that is forked in that
moment would wait for them for ever; so nothing of ours is in it while anybody forks.
"""

from __future__ import annotations

import os
import threading

#: Held by whoever is in SQLite through a library of its own connections, and by whoever forks.
SQLITE_GUARD = threading.RLock()

os.register_at_fork(
    before=SQLITE_GUARD.acquire,
    after_in_parent=SQLITE_GUARD.release,
    after_in_child=SQLITE_GUARD.release,
)
