"""Chargebee."""
