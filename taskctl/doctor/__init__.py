"""The checks of `taskctl doctor`: each looks at one thing and names the cure.

A file holds the checks of one stage; `stages` says in which order they run and what each needs.
May import what a command may.
"""
