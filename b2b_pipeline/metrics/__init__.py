"""Metrics: what is measured over which rows, how it becomes a number, and what is known of it.

What belongs here: datasets, measures, kinds, families; the plan that every question runs; components stored by day; the
view for BI tools. It looks down on `derived`, `core` and `warehouse`; how numbers are shown on a page is `report`.
"""
