"""Bytes only: what travels, and how it is written.

Nothing here opens a socket or a file, or reads a clock.  May import the ground.
Every fact names its source; most are Celery 5.7's message protocol 2, as observed on the wire.
"""
