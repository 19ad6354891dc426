"""The worker: one thread around one select, over a consumer and a pool.

May import pool, app's parts it is handed, messaging, remote's vocabulary and wire; never brokers.
"""
