"""Measurements, each `python -m benchmarks.<name>` from the checkout. README.md has what they said on one machine."""
