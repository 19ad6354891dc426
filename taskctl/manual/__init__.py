"""The manual: pages made from the command tree and the program's own tables.

`page` says what a page is; `commands`, `topics` and `tables` make them; `roff` and `text` write
them. The pages in man/ are these, committed; `taskctl man` shows them without installation.
"""
