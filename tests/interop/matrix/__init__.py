"""The interop matrix: {client, worker} x {Celery, taskctl} x {Redis, RabbitMQ}, one row a feature.

`project` is the app that both sides load, made by either library; `cases` are the rows; `cells`
runs them in one column.  What a run finds is written into docs/interop.md by `table`.
"""
