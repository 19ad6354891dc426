"""The supervisor behind `taskctl multi`: many nodes on this host, told apart by name.

    grammar   argv to a Line: sub-command, words, options, each with its scope
    nodes     a Line (or a record) to Nodes: name, argv, pidfile, logfile
    records   what was started, kept in the state folder
    boot      one node on its way from spawned to ready
    fleet     start, stop and restart of many at once, as reports
    report    what became of one node
    doing     what a node says of itself, in its health file
    logs      the ends of several logs, by time; their growth

Nothing here imports an app, a broker or click: the nodes are processes, and this room starts,
signals and looks at processes.
"""
