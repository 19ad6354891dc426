"""The tables of the SQLite broker, and how older files are lifted to them.

Times named `at` and `due` are unix time, for people and for tasks.  Times named `seen` and `used`
are `time.monotonic()`, which all processes of one boot share and no clock change disturbs: a
lease holds while `seen <= now < seen + lease`, so one from before a reboot has ended.
"""

from __future__ import annotations

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # Goes up with every change of queues, exchanges and bindings: caches are stale then.
        "CREATE TABLE topology (number INTEGER NOT NULL)",
        "INSERT INTO topology VALUES (1)",
        # A private queue (replies) has `expires`: it goes away unused for so many seconds.
        # Messages older than `ttl` seconds are dropped.
        """CREATE TABLE queue (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE,
            expires REAL,
            used REAL NOT NULL,
            ttl REAL)""",
        "CREATE TABLE exchange (name TEXT PRIMARY KEY, type TEXT NOT NULL) WITHOUT ROWID",
        """CREATE TABLE binding (
            exchange TEXT NOT NULL,
            queue INTEGER NOT NULL,
            key TEXT NOT NULL,
            PRIMARY KEY (exchange, queue, key)) WITHOUT ROWID""",
        # A message waits (owner 0, due null), is on loan (owner > 0) or is held (due set).
        # It waits behind all of higher priority, then of lower `seq`, then of lower id; `seq` is
        # 0, or below for one that was held and is due: it goes first, the soonest due first.
        # `loan` counts loans, so that (id, loan) names one loan for ever: ids are not reused.
        # The envelope stands last, so that the other columns are read without it.
        """CREATE TABLE message (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            queue INTEGER NOT NULL,
            priority INTEGER NOT NULL,
            seq INTEGER NOT NULL DEFAULT 0,
            owner INTEGER NOT NULL DEFAULT 0,
            loan INTEGER NOT NULL DEFAULT 0,
            started INTEGER NOT NULL DEFAULT 0,
            deliveries INTEGER NOT NULL DEFAULT 0,
            redelivered INTEGER NOT NULL DEFAULT 0,
            due REAL,
            at REAL NOT NULL,
            task_id TEXT,
            envelope BLOB NOT NULL)""",
        """CREATE INDEX waiting ON message (queue, priority DESC, seq)
            WHERE owner = 0 AND due IS NULL""",
        "CREATE INDEX lent ON message (owner, queue) WHERE owner > 0",
        "CREATE INDEX held ON message (due, queue) WHERE due IS NOT NULL",
        "CREATE INDEX held_task ON message (task_id) WHERE due IS NOT NULL",
        # One row for each worker run; without a name it has not registered yet.
        """CREATE TABLE owner (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            owner TEXT NOT NULL UNIQUE,
            name TEXT,
            record TEXT,
            at REAL NOT NULL,
            seen REAL NOT NULL,
            lease REAL NOT NULL)""",
        # What was said to all; a listener remembers the last id it has heard.
        """CREATE TABLE broadcast (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            seen REAL NOT NULL,
            exchange TEXT NOT NULL,
            routing_key TEXT NOT NULL,
            envelope BLOB NOT NULL)""",
    ),
    (
        # Queues that nobody shall take from, by name: the note outlives the queue.
        "CREATE TABLE paused (queue TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID",
    ),
    (
        # What was revoked: an id or a stamp, and until when (unix time) that holds.
        "CREATE TABLE revoked (mark TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID",
    ),
    (
        # Who leads (`leading.Leadership`), and what its sends have left behind.
        """CREATE TABLE leader (
            name TEXT PRIMARY KEY,
            candidate TEXT NOT NULL,
            fence INTEGER NOT NULL,
            seen REAL NOT NULL,
            lease REAL NOT NULL,
            record TEXT NOT NULL) WITHOUT ROWID""",
        """CREATE TABLE ledger (
            name TEXT NOT NULL,
            key TEXT NOT NULL,
            value TEXT NOT NULL,
            PRIMARY KEY (name, key)) WITHOUT ROWID""",
    ),
)
