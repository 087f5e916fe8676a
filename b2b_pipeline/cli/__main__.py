"""`python -m b2b_pipeline.cli` is `b2b`."""

from b2b_pipeline.cli import app

app()
