"""The two ends of the pipe: producer and consumer, mailbox and events.

The only room that touches a broker.  May import brokers and wire, never tasks: the pipe does not
know what runs.
"""
