"""The app of the example.  No broker is named: the embedded SQLite broker is used."""

from taskctl import App

app = App("filescan", include=["filescan.tasks"])
