"""The derived tables: each one query over the core tables, in a file of its own, and listed in `registry.py`.

What belongs here: which records count, whose they are, and what follows for a person, a deal, a recipient. It looks
down on `core` and `warehouse`; sums over its tables belong to `metrics`.
"""
