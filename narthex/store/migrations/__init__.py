"""The steps from each shape of the tables to the next, for Alembic. `narthex.store.database` takes them on opening.

A step never imports `schema`, which changes under it: what it needs stands in it. Each has a way back, and a test goes
both ways with data in the tables.
"""
