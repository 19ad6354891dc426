"""What the contestants run: one app for each product, the same tasks, the same settings.

The environment says where: BENCH_BROKER is the broker's URL, BENCH_BACKEND that of the results,
empty for none.
"""
