"""The report: one HTML page of the numbers, for whoever never opens Dagster.

What belongs here: which numbers, in which words and charts. It asks `metrics` as `b2b kpi` does, and computes nothing.
"""
