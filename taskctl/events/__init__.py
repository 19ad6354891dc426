"""What hears and tells events, under the names that Celery's users import.

`app.events` makes receivers, states and dispatchers; the classes to derive from are here: State in
`taskctl.events.state`, Polaroid in `taskctl.events.snapshot`.
"""
