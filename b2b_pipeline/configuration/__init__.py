"""`pipeline.yaml` and the environment: what they may say, and how they are read.

What belongs here: models, their checks, the file's lines in an error. It knows no landing, warehouse or Dagster.
"""
