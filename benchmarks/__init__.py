"""Figures of taskctl, each taken beside Celery in the same run: `python -m benchmarks`.

`stand` is the test stand: a Redis server, contestants, their workers.  `rounds` takes turns,
`report` draws and writes docs/benchmarks.md.  The other files hold one kind of figure each.
"""
