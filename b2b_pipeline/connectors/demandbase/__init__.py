"""Demandbase."""
