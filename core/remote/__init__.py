"""Steer and see workers from outside: the vocabulary, the control client, the cluster view.

May import messaging and wire.  Never the app: it is handed its mailbox.
"""
