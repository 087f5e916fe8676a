"""The warehouse: every table, what a row of one must be, and how rows get in and out, on DuckDB and PostgreSQL.

What belongs here: declarations, contract and casts, engines, bulk loading, writing, migrations, what engines say when
something is wrong. It knows `configuration` and no more: neither vendors nor what a table is made of.
"""
