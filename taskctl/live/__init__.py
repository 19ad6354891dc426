"""The live view of `top` and `events`: what is gathered, what keys do, and the screen.

`gather` asks and listens in threads of its own, `model` decides what a key means, `screen` is the
only place that knows of rich and of the terminal. What a frame looks like is in `views.top`.
"""
