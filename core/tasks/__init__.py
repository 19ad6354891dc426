"""Calling, composing, running and waiting for tasks.

What a user writes (`task`, `signature`, `canvas`), what happens in a child when a task runs
(`context`, `execute` and its steps, `builtins`), and what a caller holds (`result`).
Objects here are bound to an app and never import it.  May import backends, messaging, wire and
the ground.
"""
