"""Dagster at the edge: assets, checks, jobs, schedules and sensors over the plain Python of the rest."""
